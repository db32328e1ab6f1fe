/** QEMU guests: started by us or adopted by their QMP socket, and moved as any other guest. */
import { freemem } from 'node:os';
import { join } from 'node:path';
import type {
  Guest,
  GuestDescription,
  GuestHandle,
  GuestReference,
  Hypervisor,
  IncomingGuest,
  IncomingOptions,
  QemuBinary,
} from '../ports/hypervisor.ts';
import { type Completion, DwcpError } from '../util/errors.ts';
import { complete, promised } from '../util/promised.ts';
import { kill, type ProcessIdentity, readStartTicks } from './process-fence.ts';
import { commandLine, processesWith, socketOwner } from './qemu/find-process.ts';
import { QemuGuest } from './qemu/guest.ts';
import { QemuIncoming } from './qemu/incoming.ts';
import { launchQemu, openQmp, qmpArgument } from './qemu/launch.ts';
import { checkPeerArguments, portableArguments } from './qemu/launch-arguments.ts';
import { prepareMigration } from './qemu/migrate.ts';
import { describeMachine } from './qemu/preflight.ts';
import {
  findRecord,
  makeRunDirectory,
  removeRunDirectory,
  runDirectories,
  writeRecord,
} from './qemu/run-directory.ts';

/** The one on the PATH. */
const DEFAULT_QEMU: QemuBinary = { binary: 'qemu-system-x86_64', args: [], env: {} };

export type QemuGuestOptions = {
  readonly name: string;
  /** Files and devices that every host of the cluster sees: writable disks are refused otherwise. */
  readonly sharedDisks?: readonly string[];
} & (
  | {
      /** Starts QEMU with these, `@RUN@` standing for the guest's own folder. */
      readonly args: readonly string[];
      /** Default: `qemu-system-x86_64` on the PATH. */
      readonly qemu?: QemuBinary;
    }
  | {
      /** Takes over a running QEMU; nobody else may be connected to this socket. */
      readonly qmpPath: string;
    }
);

export function qemuGuest(options: QemuGuestOptions): GuestHandle {
  const { name, sharedDisks = [] } = options;
  const open = async ({ dataDir }: { readonly dataDir: string }): Promise<Guest> => {
    const runDirectory = makeRunDirectory(dataDir);
    try {
      if ('qmpPath' in options) {
        return await manage({ name, sharedDisks, runDirectory, ...running(options.qmpPath) });
      }
      const { args, qemu = DEFAULT_QEMU } = options;
      const started = await launchQemu(qemu, args, runDirectory);
      return await manage({ name, sharedDisks, runDirectory, args, ...started });
    } catch (error) {
      await killAll(runDirectory);
      removeRunDirectory(runDirectory);
      throw error;
    }
  };
  return { kind: 'qemu', name, open };
}

export function qemuHypervisor(options: {
  readonly dataDir: string;
  readonly qemu?: QemuBinary;
}): Hypervisor {
  return new QemuHypervisor(options.dataDir, options.qemu ?? DEFAULT_QEMU);
}

/** An incoming QEMU may not start programs, whatever its source asked for. */
const SANDBOX = ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny'];

class QemuHypervisor implements Hypervisor {
  readonly kind = 'qemu';
  readonly #dataDir: string;
  readonly #qemu: QemuBinary;

  constructor(dataDir: string, qemu: QemuBinary) {
    this.#dataDir = dataDir;
    this.#qemu = qemu;
  }

  adopt(reference: GuestReference, done: Completion<Guest>): void {
    complete(async () => {
      const found = findRecord(this.#dataDir, reference.socketPath);
      if (found === null || readStartTicks(reference.pid) !== reference.startTicks) {
        const message = `QEMU of "${reference.name}" (pid ${reference.pid}) is gone`;
        throw new DwcpError('ERR_DWCP_GUEST_FAILED', message);
      }
      return new QemuGuest({ reference, ...found, qmp: null });
    }, done);
  }

  prepareIncoming(options: IncomingOptions, done: Completion<IncomingGuest>): void {
    complete(async () => {
      const { description } = options;
      const args = checkPeerArguments(description.launch);
      checkRoom(description);
      const runDirectory = makeRunDirectory(this.#dataDir);
      try {
        const waiting = ['-S', '-incoming', 'defer', ...SANDBOX];
        const { process, qmpPath } = await launchQemu(
          this.#qemu,
          [...args, ...waiting],
          runDirectory,
        );
        const guest = await manage({
          name: description.name,
          sharedDisks: sharedDisksOf(description),
          ...{ runDirectory, args, process, qmpPath },
        });
        checkTwin(description, guest.description);
        const qmp = await guest.qmp();
        const { mayPostcopy = false } = options;
        await prepareMigration(qmp, 'destination', { mayPostcopy });
        const path = join(runDirectory, 'in');
        await qmp.ask('migrate-incoming', { uri: `unix:${path}` });
        // The memory is there twice until the guest runs: once in QEMU, once beside it.
        const byPages = !mayPostcopy && freemem() > 2 * description.memoryBytes;
        return new QemuIncoming({ guest, qmp, qemuPath: path, byPages, options });
      } catch (error) {
        await killAll(runDirectory);
        removeRunDirectory(runDirectory);
        throw error;
      }
    }, done);
  }

  /** Only QEMUs that we started: one adopted by its socket is its owner's to end. */
  removeOrphans(keep: ReadonlySet<string>, done: Completion<readonly string[]>): void {
    complete(async () => {
      const removed: string[] = [];
      for (const runDirectory of runDirectories(this.#dataDir)) {
        const kept = [...keep].some(
          (path) => findRecord(this.#dataDir, path)?.runDirectory === runDirectory,
        );
        if (kept) continue;
        if ((await killAll(runDirectory)) > 0) removed.push(join(runDirectory, 'qmp'));
        removeRunDirectory(runDirectory);
      }
      return removed;
    }, done);
  }
}

interface Managed {
  readonly name: string;
  readonly runDirectory: string;
  readonly qmpPath: string;
  readonly process: ProcessIdentity;
  readonly args: readonly string[];
  readonly sharedDisks: readonly string[];
}

/** Asks QEMU what it is and notes it, so that a restarted agent knows it without asking. */
async function manage(managed: Managed): Promise<QemuGuest> {
  const { name, runDirectory, qmpPath, process, args, sharedDisks } = managed;
  const qmp = await openQmp({ path: qmpPath, onEvent: () => {}, onClose: () => {} });
  const { memoryBytes, machine } = await describeMachine(qmp).catch((error: unknown) => {
    qmp.close();
    throw error;
  });
  const record = { qmpPath, memoryBytes, machine, args, sharedDisks };
  writeRecord(runDirectory, record);
  const reference: GuestReference = { kind: 'qemu', name, ...process, socketPath: qmpPath };
  return new QemuGuest({ reference, record, runDirectory, qmp });
}

function running(qmpPath: string): Pick<Managed, 'qmpPath' | 'process' | 'args'> {
  const pid = socketOwner(qmpPath);
  const startTicks = pid === null ? null : readStartTicks(pid);
  if (pid === null || startTicks === null) {
    throw new DwcpError('ERR_DWCP_GUEST_UNKNOWN', `no process listens on ${qmpPath}`, {
      hint: 'Start QEMU with -qmp unix:PATH,server=on,wait=off and pass the same absolute PATH.',
    });
  }
  const args = portableArguments(commandLine(pid).slice(1), null);
  return { qmpPath, process: { pid, startTicks }, args };
}

function checkTwin(wanted: GuestDescription, found: GuestDescription): void {
  const keys = new Set([...Object.keys(wanted.machine), ...Object.keys(found.machine)]);
  const pairs = [...keys].map((key) => [key, wanted.machine[key], found.machine[key]] as const);
  for (const [key, theirs, ours] of [
    ...pairs,
    ['memoryBytes', wanted.memoryBytes, found.memoryBytes] as const,
  ]) {
    if (theirs === ours) continue;
    throw new DwcpError(
      'ERR_DWCP_INCOMPATIBLE',
      `${key} of "${wanted.name}" is ${theirs} at its source and ${ours} here`,
      { hint: 'Both hosts need a QEMU that has this machine type and CPU model.' },
    );
  }
}

function checkRoom({ name, memoryBytes }: GuestDescription): void {
  const available = freemem();
  if (memoryBytes <= available) return;
  throw new DwcpError(
    'ERR_DWCP_NO_ROOM',
    `"${name}" needs ${memoryBytes} bytes, available are ${available}`,
    { hint: 'Free memory on this host, or choose another destination.' },
  );
}

function sharedDisksOf({ launch }: GuestDescription): readonly string[] {
  const disks = launch['sharedDisks'];
  return Array.isArray(disks) ? disks.filter((disk) => typeof disk === 'string') : [];
}

/** Every process that was started for this folder; how many there were. */
async function killAll(runDirectory: string): Promise<number> {
  const found = processesWith(qmpArgument(runDirectory)).flatMap((pid) => {
    const startTicks = readStartTicks(pid);
    return startTicks === null ? [] : [{ pid, startTicks }];
  });
  await Promise.all(found.map((each) => promised<void>((done) => kill(each, done))));
  return found.length;
}
