/** The kinds of guest that a fault test moves, each the smallest of its kind. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DemoCluster } from '../../../src/cli/demo/cluster.ts';
import type { QemuBinary } from '../../../src/ports/hypervisor.ts';
import type { Census } from './census.ts';
import { MemoryCensus } from './memory-census.ts';
import { QemuCensus } from './qemu-census.ts';

export interface Arm {
  readonly kind: 'memory' | 'qemu';
  /** For the configuration of every agent. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** For `startGuest`. */
  readonly options: object;
  census(cluster: DemoCluster): Census;
  dispose(): void;
}

export function memoryArm(): Arm {
  const options = { memoryBytes: 16 * 2 ** 20, dirtyBytesPerSec: 2 ** 20 };
  return {
    kind: 'memory',
    settings: {},
    options,
    census: ({ directory }) => new MemoryCensus(directory),
    dispose: () => {},
  };
}

/** Firmware that counts on the serial port, in an emulated machine. */
export function qemuArm(): Arm {
  const found = execFileSync('node', ['scripts/qemu.mjs'], { encoding: 'utf8', timeout: 300_000 });
  const { binary, args, env } = JSON.parse(found) as QemuBinary;
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-counter-'));
  const firmware = join(folder, 'counter.bin');
  execFileSync('node', ['scripts/guests/counter.mjs', firmware]);
  const machine = ['-machine', 'q35,accel=tcg,memory-backend=mem0', '-m', '64M', '-nodefaults'];
  const memory = ['-object', 'memory-backend-memfd,id=mem0,size=64M,share=on'];
  const devices = ['-display', 'none', '-bios', firmware, '-serial', 'file:@RUN@/serial'];
  return {
    kind: 'qemu',
    settings: { qemu: { binary, args, env } },
    options: { args: [...machine, ...memory, ...devices] },
    census: ({ directory, dataDirs }) => new QemuCensus(directory, dataDirs),
    dispose: () => rmSync(folder, { recursive: true, force: true }),
  };
}
