/**
 * The VM that the WAN benches move: a Linux guest with a key-value server, most of whose memory holds files and
 * values. It is booted, filled and put under load once, and saved; every move begins with that state.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { linuxMachine } from '../src/cli/demo/linux-guest.ts';
import { assert } from '../src/util/assert.ts';
import { DwcpError } from '../src/util/errors.ts';
import { killVm, launchVm, migrated, type SavedVm } from './migration-qemu-vm.ts';
import { GUEST_ADDRESS, GUEST_MAC, GUEST_PORT, GUEST_TAP } from './wan-guest-lan.ts';
import type { LoadCommand, LoadPlan, LoadReport, LoadSaid } from './wan-guest-load.ts';

export interface SavedGuest extends SavedVm {
  readonly load: LoadPlan;
  /** Of all pages, as QEMU counted them when it saved. */
  readonly nonZeroShare: number;
  readonly fileBytes: number;
  readonly valueBytes: number;
}

export interface GuestPlan {
  readonly folder: string;
  /** Tells the saved VMs of one folder apart. */
  readonly name: string;
  readonly memoryBytes: number;
  readonly enterClient: readonly string[];
  readonly operationsPerSec: number;
  readonly writeShare: number;
  readonly seed: number;
}

const MIB = 2 ** 20;
/** Of an image: the same programs and documents in each of its VMs. */
const IMAGE_SEED = 1;
const FILE_SHARE = 0.4;
const FREE_SHARE = 0.08;
/** What the kernel has to keep free, so that it does not begin to reclaim. */
const FREE_BYTES_MIN = 24 * MIB;
const WARM_UP_MS = 3_000;
const SAVED_WITHIN_MS = 300_000;
const ANSWER_WITHIN_MS = 600_000;

export async function saveGuest(plan: GuestPlan): Promise<SavedGuest> {
  const { folder, name, memoryBytes, enterClient, seed } = plan;
  const machine = await linuxMachine('kv', memoryBytes, `dwcp.ip=${GUEST_ADDRESS}`);
  const vm: SavedVm = {
    qemu: machine.qemu,
    args: networked(machine.args),
    statePath: join(folder, `${name}.state`),
    memoryBytes,
  };
  const versionsPath = join(folder, `${name}.versions`);
  writeFileSync(versionsPath, '[]');
  const { operationsPerSec, writeShare } = plan;
  const at = { host: GUEST_ADDRESS, port: GUEST_PORT };
  const listPath = join(folder, 'files');
  const load: LoadPlan = {
    ...{ type: 'load', at, seed, operationsPerSec, writeShare },
    ...{ versionsPath, listPath },
  };
  const { running, qmp } = await launchVm(vm, folder, `boot-${name}`, []);
  const client = new LoadProcess(enterClient);
  try {
    const filled = await client.ask({
      ...{ type: 'fill', at, seed, imageSeed: IMAGE_SEED, listPath },
      fileBytes: Math.floor(memoryBytes * FILE_SHARE),
      freeBytesLeft: Math.max(FREE_BYTES_MIN, memoryBytes * FREE_SHARE),
    });
    assert(filled.type === 'filled', 'the guest was filled');
    await client.ask(load);
    await new Promise((resolve) => setTimeout(resolve, WARM_UP_MS));
    const { fault } = await client.report();
    assert(fault === null, `the guest holds what was written: ${fault}`);
    await client.end();
    await qmp.ask('stop');
    await qmp.ask('migrate-set-parameters', { 'max-bandwidth': 0 });
    await qmp.ask('migrate', { uri: `file:${vm.statePath}` });
    const { ram } = await migrated(qmp, { withinMs: SAVED_WITHIN_MS });
    const pages = memoryBytes / (ram?.['page-size'] ?? 4096);
    const nonZeroShare = Math.min(1, (ram?.normal ?? 0) / pages);
    const { fileBytes, valueBytes } = filled;
    return { ...vm, load, nonZeroShare, fileBytes, valueBytes };
  } finally {
    client.kill();
    qmp.close();
    await killVm(running);
  }
}

function networked(all: readonly string[]): readonly string[] {
  const serial = all.indexOf('file:@RUN@/serial');
  assert(serial > 0, 'the Linux guest writes its serial port to a file');
  return [
    ...['-chardev', 'file,id=serial0,path=@SERIAL@,append=on'],
    ...all.with(serial, 'chardev:serial0'),
    ...['-netdev', `tap,id=net0,ifname=${GUEST_TAP},script=no,downscript=no`],
    ...['-device', `virtio-net-pci,netdev=net0,mac=${GUEST_MAC},romfile=`],
  ];
}

/** The guest's client, on its own host. */
export class LoadProcess {
  readonly #process: ChildProcess;
  #ended: string | null = null;

  constructor(enter: readonly string[]) {
    const script = fileURLToPath(new URL('./wan-guest-load.js', import.meta.url));
    const [first = '', ...rest] = [...enter, process.execPath, script];
    this.#process = spawn(first, rest, { stdio: ['ignore', 2, 2, 'ipc'] });
    this.#process.once('error', (error) => {
      this.#ended = error.message;
    });
    this.#process.once('exit', (code, signal) => {
      this.#ended = `ended with ${signal ?? code}`;
    });
  }

  async ask(command: LoadCommand): Promise<LoadSaid> {
    const said = await new Promise<LoadSaid>((resolve, reject) => {
      const refuse = (why: string): void =>
        reject(new DwcpError('ERR_DWCP_GUEST_FAILED', `the guest's client: ${why}`));
      if (this.#ended !== null) return refuse(this.#ended);
      const timer = setTimeout(() => refuse(`no answer to ${command.type}`), ANSWER_WITHIN_MS);
      const over = (code: number | null): void => refuse(`ended with ${code}`);
      this.#process.once('exit', over);
      this.#process.once('message', (message) => {
        clearTimeout(timer);
        this.#process.off('exit', over);
        resolve(message as LoadSaid);
      });
      this.#process.send(command);
    });
    if (said.type === 'failed') throw new DwcpError('ERR_DWCP_GUEST_FAILED', said.error);
    return said;
  }

  async report(): Promise<LoadReport> {
    const said = await this.ask({ type: 'report' });
    assert(said.type === 'report', 'a report is answered with one');
    return said;
  }

  /** What was written is noted for the next client of this VM. */
  async end(): Promise<void> {
    await this.ask({ type: 'end' });
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }
}
