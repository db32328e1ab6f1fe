/** One Linux VM, booted once and saved: every run starts from the same memory. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { linuxGuest } from '../src/cli/demo/linux-guest.ts';
import { TickWatch } from '../src/cli/demo/tick-watch.ts';
import { kill, readStartTicks } from '../src/hypervisors/process-fence.ts';
import {
  launchQemu,
  openQmp,
  qmpArgument,
  type RunningQemu,
} from '../src/hypervisors/qemu/launch.ts';
import { type MigrationInfo, queryMigration } from '../src/hypervisors/qemu/migrate.ts';
import type { Qmp } from '../src/hypervisors/qemu/qmp.ts';
import type { QemuBinary } from '../src/ports/hypervisor.ts';
import { assert } from '../src/util/assert.ts';
import { DwcpError } from '../src/util/errors.ts';
import { promised } from '../src/util/promised.ts';

export interface SavedVm {
  readonly qemu: QemuBinary;
  /** Its serial port goes to `@SERIAL@`, appended, so that source and destination write one text. */
  readonly args: readonly string[];
  readonly statePath: string;
  readonly memoryBytes: number;
}

export interface VmHandle {
  readonly running: RunningQemu;
  readonly qmp: Qmp;
}

const MIGRATED_WITHIN_MS = 120_000;
const STARTED_WITHIN_MS = 10_000;
const POLL_MS = 5;
/** Counts before the VM is saved: its memory is filled by then, and its workload is going. */
const TICKS_BEFORE_SAVE = 25;

export async function saveVm(
  folder: string,
  options: { readonly memoryBytes: number; readonly dirtyBytesPerSec: number },
): Promise<SavedVm> {
  const { qemu, args: all } = await linuxGuest(options);
  const serial = all.indexOf('file:@RUN@/serial');
  assert(serial > 0, 'the Linux guest writes its serial port to a file');
  const args = [
    ...['-chardev', 'file,id=serial0,path=@SERIAL@,append=on'],
    ...all.with(serial, 'chardev:serial0'),
  ];
  const statePath = join(folder, 'saved-vm');
  const vm = { qemu, args, statePath, memoryBytes: options.memoryBytes };
  const serialFolder = serialFolderOf(folder, 'boot');
  const watch = new TickWatch([serialFolder]);
  const { running, qmp } = await launchVm(vm, folder, 'boot', []);
  try {
    await watch.ready();
    const first = watch.report().operations;
    while (watch.report().operations < first + TICKS_BEFORE_SAVE) await delay(POLL_MS);
    await qmp.ask('stop');
    await qmp.ask('migrate-set-parameters', { 'max-bandwidth': 0 });
    await qmp.ask('migrate', { uri: `file:${statePath}` });
    await migrated(qmp);
    assert(existsSync(statePath), 'QEMU wrote the state of the VM');
    return vm;
  } finally {
    watch.close();
    qmp.close();
    await killVm(running);
  }
}

/** Where {@link TickWatch} looks for the serial port of the run. */
export function serialFolderOf(folder: string, name: string): string {
  const serialFolder = join(folder, `serial-${name}`);
  mkdirSync(join(serialFolder, 'qemu-guests', 'vm'), { recursive: true });
  return serialFolder;
}

export async function launchVm(
  vm: SavedVm,
  folder: string,
  name: string,
  more: readonly string[],
  enter: readonly string[] = [],
): Promise<VmHandle> {
  const run = name.replace(/^twin-/, '');
  const serial = join(serialFolderOf(folder, run), 'qemu-guests', 'vm', 'serial');
  const args = [...vm.args.map((word) => word.replaceAll('@SERIAL@', serial)), ...more];
  const running = await (enter.length === 0
    ? launchQemu(vm.qemu, args, join(folder, name))
    : launchOn(enter, vm.qemu, args, join(folder, name)));
  return { running, qmp: await open(running.qmpPath) };
}

/** In another network namespace: what listens there is not in the lists that we see. */
async function launchOn(
  [first = '', ...rest]: readonly string[],
  qemu: QemuBinary,
  args: readonly string[],
  runDirectory: string,
): Promise<RunningQemu> {
  mkdirSync(runDirectory, { recursive: true });
  const words = [...rest, qemu.binary, ...qemu.args, ...args, '-qmp', qmpArgument(runDirectory)];
  const env = { ...process.env, ...qemu.env };
  const { pid = 0 } = spawn(first, words, { detached: true, stdio: 'ignore', env });
  const qmpPath = join(runDirectory, 'qmp');
  const deadlineMs = performance.now() + STARTED_WITHIN_MS;
  for (;;) {
    const startTicks = readStartTicks(pid);
    try {
      if (startTicks === null) throw new DwcpError('ERR_DWCP_GUEST_FAILED', 'QEMU did not start');
      (await open(qmpPath)).close();
      return { process: { pid, startTicks }, qmpPath };
    } catch (error) {
      if (startTicks === null || performance.now() > deadlineMs) throw error;
      await delay(POLL_MS);
    }
  }
}

function open(path: string): Promise<Qmp> {
  return openQmp({ path, onEvent: () => {}, onClose: () => {} });
}

/** The saved VM, running again. */
export async function restoreVm(vm: SavedVm, folder: string, name: string): Promise<VmHandle> {
  const handle = await launchVm(vm, folder, name, ['-S', '-incoming', 'defer']);
  await handle.qmp.ask('migrate-incoming', { uri: `file:${vm.statePath}` });
  await migrated(handle.qmp);
  await handle.qmp.ask('cont');
  return handle;
}

export async function killVm({ process }: RunningQemu): Promise<void> {
  await promised<void>((done) => kill(process, done));
  // Its last thread closes its devices: a child of ours is gone, and not only dead, after that.
  while (existsSync(`/proc/${process.pid}`)) await delay(POLL_MS);
}

interface MigratedOptions {
  readonly withinMs?: number;
  readonly onInfo?: (info: MigrationInfo) => void;
}

/** Resolves with QEMU's own account when its migration, in either direction, is complete. */
export async function migrated(qmp: Qmp, options: MigratedOptions = {}): Promise<MigrationInfo> {
  const { withinMs = MIGRATED_WITHIN_MS, onInfo } = options;
  const deadlineMs = performance.now() + withinMs;
  for (;;) {
    const info = await queryMigration(qmp);
    onInfo?.(info);
    if (info.status === 'completed') return info;
    if (info.status === 'failed' || performance.now() > deadlineMs) {
      const why = info['error-desc'] ?? 'no reason given';
      throw new DwcpError('ERR_DWCP_GUEST_FAILED', `QEMU's migration is ${info.status}: ${why}`);
    }
    await delay(POLL_MS);
  }
}
