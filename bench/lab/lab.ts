/**
 * `npm run lab -- [--profile NAME] [--seed N] [KEY=VALUE...] -- COMMAND...`: runs the command on host `a` of a
 * WAN and removes all of it afterwards. The command finds the hosts in LAB_A, LAB_B (namespaces), LAB_ADDRESS_A
 * and LAB_ADDRESS_B. Without one: a live link that takes `set KEY=VALUE...` and `stats` from stdin.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { DwcpError } from '../../src/util/errors.ts';
import { PROFILES, type WanProfile, type WanShape } from './profiles.ts';
import { type Wan, withWan } from './wan.ts';

const EXIT_USAGE = 2;

function profileOf(name: string): WanProfile {
  if (name in PROFILES) return name as WanProfile;
  throw new DwcpError('ERR_DWCP_USAGE', `no profile "${name}"`, {
    hint: `There are: ${Object.keys(PROFILES).join(', ')}.`,
  });
}

/** What is wrong with it, the link says. */
function changeOf(words: readonly string[]): Partial<WanShape> {
  return Object.fromEntries(
    words.map((word) => {
      const [key = '', value = ''] = word.split('=');
      return [key, Number(value)];
    }),
  ) as Partial<WanShape>;
}

/** Resolves with the exit code that a shell would give. */
function runIn(wan: Wan, command: readonly string[]): Promise<number> {
  const [first = '', ...rest] = [...wan.enter.a, ...command];
  const hosts = {
    LAB_A: wan.a,
    LAB_B: wan.b,
    LAB_ADDRESS_A: wan.addresses.a,
    LAB_ADDRESS_B: wan.addresses.b,
  };
  const child = spawn(first, rest, { stdio: 'inherit', env: { ...process.env, ...hosts } });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
    );
  });
}

async function converse(wan: Wan): Promise<number> {
  console.error(`host a: ip netns exec ${wan.a} ...   ${wan.addresses.a}`);
  console.error(`host b: ip netns exec ${wan.b} ...   ${wan.addresses.b}`);
  for await (const line of createInterface({ input: process.stdin })) {
    const [verb, ...words] = line.trim().split(/\s+/);
    try {
      if (verb === 'set') await wan.set(changeOf(words));
      else if (verb === 'stats') console.log(JSON.stringify(await wan.stats()));
      else console.error('commands are: set KEY=VALUE..., stats; end of input ends the link');
    } catch (error) {
      if (!(error instanceof DwcpError)) throw error;
      console.error(error.message);
    }
  }
  return 0;
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const at = args.indexOf('--');
  const command = at < 0 ? [] : args.slice(at + 1);
  const { values, positionals } = parseArgs({
    args: at < 0 ? args : args.slice(0, at),
    options: {
      profile: { type: 'string', default: 'wan' },
      seed: { type: 'string', default: '1' },
    },
    allowPositionals: true,
  });
  const profile = profileOf(values.profile);
  return await withWan({ profile, seed: Number(values.seed) }, async (wan) => {
    if (positionals.length > 0) await wan.set(changeOf(positionals));
    return await (command.length > 0 ? runIn(wan, command) : converse(wan));
  });
}

try {
  process.exitCode = await main();
} catch (error) {
  const { message, hint } = error as DwcpError;
  console.error(hint ? `${message}\n${hint}` : message);
  process.exitCode = EXIT_USAGE;
}
