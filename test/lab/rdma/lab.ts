/**
 * `npm run lab:rdma -- [--limit SEC] [--memory MIB] [--exchange FOLDER] COMMAND...`: runs the command in a guest that has
 * an RDMA device (rxe0, soft-RoCE) and ends with its status; 124 when its time is up. The command starts in the
 * checkout and sees the host's files; what it writes is gone with the guest, except in $LAB_EXCHANGE.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { checkout } from '../../../bench/harness.ts';
import { DwcpError } from '../../../src/util/errors.ts';
import { type Machine, runInGuest } from './guest.ts';

const FAILED_STATUS = 125;
const USAGE_STATUS = 2;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

interface Wish {
  readonly limitMs: number;
  readonly memoryMib: number;
  readonly exchange: string;
  readonly command: readonly string[];
}

/** Our options end where the command begins. */
function wishOf(args: readonly string[]): Wish {
  let at = 0;
  while (args[at]?.startsWith('--') === true && args[at] !== '--') {
    at += args[at]?.includes('=') === true ? 1 : 2;
  }
  const { values } = parseArgs({
    args: args.slice(0, at),
    options: {
      limit: { type: 'string', default: '600' },
      memory: { type: 'string', default: '2048' },
      exchange: { type: 'string', default: join(checkout, 'build/lab/exchange') },
    },
  });
  const command = args.slice(args[at] === '--' ? at + 1 : at);
  const limitMs = Number(values.limit) * 1000;
  const memoryMib = Number(values.memory);
  if (command.length === 0 || !(limitMs > 0) || !(memoryMib >= 256)) {
    throw new DwcpError('ERR_DWCP_USAGE', 'no command for the lab, or limits that are no numbers', {
      hint: 'npm run lab:rdma -- [--limit SEC] [--memory MIB] [--exchange FOLDER] COMMAND...',
    });
  }
  return { limitMs, memoryMib, exchange: resolve(values.exchange), command };
}

function machineOf(memoryMib: number): Machine {
  const script = <T>(...words: readonly string[]): T => {
    const [path = '', ...args] = words;
    const said = execFileSync(process.execPath, [join(checkout, 'scripts', path), ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return JSON.parse(said) as T;
  };
  const qemu = script<Machine['qemu']>('qemu.mjs');
  const { kernel, initrd } = script<Machine>('guests/linux.mjs', 'lab');
  return { qemu, kernel, initrd, memoryMib };
}

async function main(): Promise<number> {
  const wish = wishOf(process.argv.slice(2));
  mkdirSync(wish.exchange, { recursive: true });
  const environment = Object.fromEntries(
    Object.entries(process.env).filter((each): each is [string, string] => each[1] !== undefined),
  );
  const lab = { LAB_DEVICE: 'rxe0', LAB_ADDRESS: '10.7.0.1', LAB_EXCHANGE: wish.exchange };
  const guest = runInGuest(machineOf(wish.memoryMib), {
    ...{ directory: checkout, exchange: wish.exchange, limitMs: wish.limitMs },
    ...{ command: wish.command, environment: { ...environment, ...lab } },
    onOutput: (stream, bytes) => process[stream].write(bytes),
  });
  for (const signal of SIGNALS) {
    process.once(signal, () => {
      guest.kill();
      process.exit(128 + constants.signals[signal]);
    });
  }
  return await guest.status;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof DwcpError)) throw error;
  console.error(`lab: ${error.message}\n${error.hint ?? ''}`);
  process.exitCode = error.code === 'ERR_DWCP_USAGE' ? USAGE_STATUS : FAILED_STATUS;
}
