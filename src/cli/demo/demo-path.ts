/**
 * What lies between the hosts of the demo. In internet mode, as root, a WAN of the lab: host a (with c) in one
 * network namespace and b in the other. Only a process inside reaches them, so the demo runs itself again in
 * there. Elsewhere, and where no WAN can be made, all is on loopback.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Wan } from '../../../bench/lab/wan.ts';
import { assert } from '../../util/assert.ts';
import { DwcpError } from '../../util/errors.ts';
import type { DemoClusterOptions } from './cluster.ts';

export interface DemoPath {
  /** For people and for the document. */
  readonly describe: string;
  readonly cluster: Pick<DemoClusterOptions, 'hosts' | 'prefix'>;
}

export const LOOPBACK: DemoPath = { describe: 'loopback', cluster: {} };

/** All hosts at this address. */
export function pathAt(address: string): DemoPath {
  return { describe: address, cluster: { hosts: { a: address, b: address, c: address } } };
}

/** What the process inside is told, as JSON. */
interface Inside {
  readonly describe: string;
  readonly addresses: { readonly a: string; readonly b: string };
  readonly enterB: readonly string[];
}

const PROFILE = 'wan';
const MBIT = 1e6;
/** A shell's way of telling of a signal. */
const EXIT_SIGNALLED = 128;

export function pathInside(json: string): DemoPath {
  const { describe, addresses, enterB } = JSON.parse(json) as Inside;
  return {
    describe,
    cluster: {
      hosts: { a: addresses.a, b: addresses.b, c: addresses.a },
      prefix: (node) => (node === 'b' ? enterB : []),
    },
  };
}

/** The exit code of the demo that ran in there, or the reason why it did not. */
export async function demoOnWan(
  words: readonly string[],
): Promise<{ readonly exitCode: number } | { readonly whyNot: string }> {
  if (process.getuid?.() !== 0) return { whyNot: 'a WAN between network namespaces needs root' };
  // Like the benchmarks, loaded only when asked for.
  const { withWan } = await import('../../../bench/lab/wan.ts');
  let hasBegun = false;
  try {
    return await withWan({ profile: PROFILE }, async (wan) => {
      hasBegun = true;
      return { exitCode: await runInside(wan, words) };
    });
  } catch (error) {
    if (hasBegun || !(error instanceof DwcpError)) throw error;
    return { whyNot: error.message };
  }
}

async function runInside(wan: Wan, words: readonly string[]): Promise<number> {
  const { cleanedUp } = await import('../../../bench/interruption.ts');
  const { shape, addresses, enter } = wan;
  const rate = `${shape.rateBitsPerSec / MBIT} Mbit/s`;
  const describe = `${PROFILE}: ${rate}, ${shape.roundTripMs} ms, ${shape.lossPercent} % loss`;
  const inside: Inside = { describe, addresses, enterB: enter.b };
  const program = process.argv[1];
  assert(program !== undefined, 'a command line runs a program');
  const own = [process.execPath, program, 'demo', ...words, '--inside', JSON.stringify(inside)];
  const [first = '', ...rest] = [...enter.a, ...own];
  const child = spawn(first, rest, {
    stdio: 'inherit',
    env: { ...process.env, DWCP_NO_SETUP: '1' },
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      resolve(signal === null ? (code ?? 1) : EXIT_SIGNALLED + constants.signals[signal]),
    );
  });
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    await ended;
  };
  return await cleanedUp(stop, () => ended);
}
