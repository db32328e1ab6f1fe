import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { launchQemu, openQmp, type RunningQemu } from '../../src/hypervisors/qemu/launch.ts';
import type { QemuBinary } from '../../src/ports/hypervisor.ts';
import { kill, until } from './waiting.ts';

const PAGE_BYTES = 4096;
const RAM_BYTES = 256 * 2 ** 20;
/** A lap over all pages takes about three seconds. */
const DIRTY_BYTES_PER_SEC = 64 * 2 ** 20;
const BOOT_WITHIN_MS = 60_000;

interface LinuxGuest {
  readonly kernel: string;
  readonly initrd: string;
}

function script<T>(path: string): T {
  return JSON.parse(execFileSync('node', [path], { encoding: 'utf8', timeout: 300_000 })) as T;
}

describe('the Linux guest', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-linux-'));
  const memory = join(folder, 'memory');
  let running: RunningQemu | null = null;

  before(async () => {
    const { kernel, initrd } = script<LinuxGuest>('scripts/guests/linux.mjs');
    const workload = `dwcp.dirty=${DIRTY_BYTES_PER_SEC} dwcp.fill=80`;
    const backend = `memory-backend-file,id=mem0,size=256M,share=on,mem-path=${memory}`;
    const args = [
      ...['-machine', 'q35,memory-backend=mem0', '-accel', 'tcg,thread=multi', '-cpu', 'max'],
      ...['-object', backend, '-smp', '1', '-m', '256', '-nodefaults', '-display', 'none'],
      ...['-no-reboot', '-serial', 'file:@RUN@/serial', '-kernel', kernel, '-initrd', initrd],
      ...['-append', `console=ttyS0 panic=-1 quiet ${workload}`],
    ];
    running = await launchQemu(script<QemuBinary>('scripts/qemu.mjs'), args, folder);
    await until(() => existsSync(join(folder, 'serial')), 'QEMU made no serial port');
  });

  after(async () => {
    if (running !== null) await kill(running.process);
    rmSync(folder, { recursive: true, force: true });
  });

  const lines = () => readFileSync(join(folder, 'serial'), 'latin1').split('\n').slice(0, -1);
  const numbers = (pattern: RegExp, radix: number) =>
    lines().flatMap((line) => {
      const text = pattern.exec(line)?.[1];
      return text === undefined ? [] : [Number.parseInt(text, radix)];
    });
  const faults = () => lines().filter((line) => line.startsWith('BAD'));
  const counts = () => numbers(/^tick ([0-9a-f]{8}) \d+$/, 16);

  async function counted(wanted: number): Promise<void> {
    const startedAt = performance.now();
    while ((counts().at(-1) ?? 0) < wanted) {
      const waitedMs = performance.now() - startedAt;
      assert.ok(waitedMs < BOOT_WITHIN_MS, `the guest said only ${lines().slice(-3).join(' | ')}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  it('counts without a gap about 50 times a second and finds its memory as it left it', async () => {
    await counted(200);
    const all = counts();
    assert.deepEqual(
      all,
      all.map((_, index) => index + 1),
    );
    assert.deepEqual(faults(), []);
    const times = numbers(/^tick [0-9a-f]{8} (\d+)$/, 10);
    const meanMs = ((times.at(-1) ?? 0) - (times[0] ?? 0)) / (times.length - 1);
    assert.ok(meanMs > 19 && meanMs < 40, `a tick takes ${meanMs} ms`);
  });

  it('has filled at least three quarters of RAM with bytes that are not zero', async () => {
    await counted(1);
    const file = openSync(memory, 'r');
    const page = Buffer.alloc(PAGE_BYTES);
    const zeros = Buffer.alloc(PAGE_BYTES);
    let filled = 0;
    for (let at = 0; at < RAM_BYTES; at += PAGE_BYTES) {
      readSync(file, page, 0, PAGE_BYTES, at);
      if (!page.equals(zeros)) filled += 1;
    }
    closeSync(file);
    const share = (filled * PAGE_BYTES) / RAM_BYTES;
    assert.ok(share >= 0.75, `only ${(100 * share).toFixed(1)} % of RAM is filled`);
  });

  it('dirties pages at the asked rate, told once in 50 counts', async () => {
    await counted(200);
    const [first = 0, ...rest] = numbers(/^dirtied (\d+)$/, 10);
    const rate = ((rest.at(-1) ?? 0) - first) / rest.length;
    assert.ok(
      rate > 0.7 * DIRTY_BYTES_PER_SEC && rate < 1.6 * DIRTY_BYTES_PER_SEC,
      `${rate} bytes/s`,
    );
  });

  it('says so when one page is as it was a second ago', async () => {
    await counted(100);
    const { qmpPath } = running ?? assert.fail('no QEMU');
    const qmp = await openQmp({ path: qmpPath, onEvent: () => {}, onClose: () => {} });
    const stopped = async () => {
      await qmp.ask('stop');
      return readFileSync(memory);
    };
    const old = await stopped();
    await qmp.ask('cont');
    await counted((counts().at(-1) ?? 0) + 50);
    const page = dirtiedPage(old, await stopped());
    // What a migration does that loses one write.
    const file = openSync(memory, 'r+');
    writeSync(file, old.subarray(page, page + PAGE_BYTES), 0, PAGE_BYTES, page);
    closeSync(file);
    assert.deepEqual(faults(), []);
    await qmp.ask('cont');
    await counted((counts().at(-1) ?? 0) + 300);
    assert.match(faults()[0] ?? 'nothing', /^BAD page \d+$/);
    qmp.close();
  });
});

/** Where a page starts of which only the stamp in front changed: the workload's own, not the kernel's. */
function dirtiedPage(old: Buffer, now: Buffer): number {
  for (let at = 0; at < RAM_BYTES; at += PAGE_BYTES) {
    const [stamp, rest, end] = [at, at + 8, at + PAGE_BYTES];
    const isStamped = old.compare(now, stamp, rest, stamp, rest) !== 0;
    if (isStamped && old.compare(now, rest, end, rest, end) === 0 && old[end - 1] !== 0) return at;
  }
  return assert.fail('the workload dirtied no page');
}
