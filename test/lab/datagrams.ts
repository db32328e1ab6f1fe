/** What becomes of numbered datagrams on the way from a to b. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Wan } from '../../bench/lab/wan.ts';

const END = fileURLToPath(new URL('datagrams-end.js', import.meta.url));
const HEADER_BYTES = 28;

/** Resolves with the numbers that came, in their order. `ipBytes` with the headers. */
export async function throwDatagrams(
  wan: Wan,
  count: number,
  ipBytes = 100,
): Promise<readonly number[]> {
  const [enter = '', ...rest] = [...wan.enter.b, process.execPath, END, 'receive'];
  const receiver = spawn(enter, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
  await lines.next();
  const send = [END, 'send', wan.addresses.b, `${count}`, `${ipBytes - HEADER_BYTES}`];
  const [command = '', ...args] = [...wan.enter.a, process.execPath, ...send];
  await promisify(execFile)(command, args);
  await drained(wan);
  receiver.stdin.end();
  const { value } = await lines.next();
  await once(receiver, 'close');
  return JSON.parse(value ?? '') as number[];
}

/** Until every packet met its fate. */
async function drained(wan: Wan): Promise<void> {
  for (;;) {
    const { ab } = await wan.stats();
    const settled = ab.deliveredPackets + ab.lostPackets + ab.queueDrops + ab.cutDrops;
    if (settled === ab.packets) return;
    await delay(10);
  }
}
