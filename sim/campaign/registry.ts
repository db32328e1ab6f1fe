import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DwcpError } from '../../src/util/errors.ts';
import { clusterScenario } from '../scenarios/cluster.ts';
import { migrationScenario } from '../scenarios/migration.ts';
import { raftScenario } from '../scenarios/raft.ts';
import { rdmaScenario } from '../scenarios/rdma.ts';
import { correctRegister, registerScenario } from '../scenarios/register.ts';
import type { Scenario } from '../world/scenario.ts';

/** Scenarios of different clients live in one list. */
// biome-ignore lint/suspicious/noExplicitAny: what clients ask differs per scenario.
export type AnyScenario = Scenario<any, any>;

export const scenarios: ReadonlyMap<string, AnyScenario> = new Map<string, AnyScenario>(
  [
    registerScenario(correctRegister),
    raftScenario(),
    clusterScenario(),
    migrationScenario(),
    rdmaScenario(),
  ].map((scenario) => [scenario.name, scenario]),
);

/** A name of ours, or the path of a module that exports `scenario`. */
export async function loadScenario(name: string): Promise<AnyScenario> {
  const known = scenarios.get(name);
  if (known !== undefined) return known;
  if (!/[/\\]|\.[cm]?js$/.test(name)) throw unknownScenario(name);
  let module: { readonly scenario?: AnyScenario };
  try {
    module = (await import(pathToFileURL(resolve(name)).href)) as typeof module;
  } catch (cause) {
    throw new DwcpError('ERR_DWCP_USAGE', `cannot load ${name}: ${String(cause)}`, {
      ...{ cause, hint: 'Name a JavaScript module that exports "scenario".' },
    });
  }
  const { scenario } = module;
  if (typeof scenario?.boot !== 'function') {
    throw new DwcpError('ERR_DWCP_USAGE', `${name} exports no "scenario" with a boot function`, {
      hint: 'See the example of "dwcp/sim" in the README.',
    });
  }
  return scenario;
}

function unknownScenario(name: string): DwcpError {
  return new DwcpError('ERR_DWCP_USAGE', `no scenario "${name}"`, {
    hint: `There are: ${[...scenarios.keys()].join(', ')}; or give the path of a module.`,
  });
}
