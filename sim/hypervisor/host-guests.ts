/** The guest processes of one simulated machine: they outlive the agent, and find a new one. */
import type { GuestReference } from '../../src/ports/hypervisor.ts';
import {
  type Completion,
  DwcpError,
  failed,
  type Outcome,
  succeeded,
} from '../../src/util/errors.ts';
import type { LocalSockets } from '../transport/bulk/local-socket.ts';
import type { SimHost } from '../world/host.ts';
import type { GuestLog } from './guest-log.ts';
import { GuestProcess, type GuestProcessOptions } from './guest-process.ts';
import { QemuProcess } from './qemu-process.ts';

/** How long a host takes for what it is asked, drawn each time. */
const QUICK_US: readonly [number, number] = [30, 600];
const START_US: readonly [number, number] = [2_000, 60_000];

/** Shared by all hosts of a world. */
export interface GuestWorld {
  readonly log: GuestLog;
  nextInstance: number;
  /** Of a VM, so that its copies agree. */
  readonly operationUs: (vm: string) => number;
  /** What an incoming guest says that it holds. A test may let it say more. */
  readonly hashes: (process: GuestProcess, firstPage: number, pageCount: number) => Uint8Array;
  /** The agent of a guest that moves takes this page for held at its destination, as it is now. */
  readonly held: (process: GuestProcess, page: number) => void;
  /** It takes this one for missing there. */
  readonly missing: (process: GuestProcess, page: number) => void;
}

export class HostGuests {
  readonly host: SimHost;
  readonly world: GuestWorld;
  readonly sockets: LocalSockets;
  readonly processes: Map<string, GuestProcess> = new Map();

  constructor(host: SimHost, world: GuestWorld, sockets: LocalSockets) {
    this.host = host;
    this.world = world;
    this.sockets = sockets;
    host.whenCrashed(() => {
      for (const process of this.processes.values()) process.forgetAgent();
    });
  }

  start(options: Pick<GuestProcessOptions, 'kind' | 'vm' | 'pageCount' | 'epoch'>): GuestProcess {
    const { world, host } = this;
    const instance = world.nextInstance;
    world.nextInstance += 1;
    const operationUs = world.operationUs(options.vm);
    const all = { ...options, host, log: world.log, instance, operationUs };
    const process =
      options.kind === 'qemu' ? new QemuProcess(all, this.sockets) : new GuestProcess(all);
    this.processes.set(process.reference.socketPath, process);
    return process;
  }

  /** Null when it is gone. */
  find(reference: GuestReference): GuestProcess | null {
    const process = this.processes.get(reference.socketPath);
    return process?.isAlive === true ? process : null;
  }

  /** For what the agent of now asks: it is not told after its end. */
  answer<T>(
    done: Completion<T>,
    work: () => Outcome<T>,
    within: readonly [number, number] = QUICK_US,
  ): void {
    this.later(within, () => done(work()));
  }

  later([min, max]: readonly [number, number], run: () => void): void {
    this.host.after(this.host.random('guests').between(min, max), 'guest', run);
  }

  afterStart(run: () => void): void {
    this.later(START_US, run);
  }

  /** SIGSTOP works at once and is seen a little later, thread by thread. */
  freeze(process: GuestProcess, done: Completion<void>): void {
    process.freeze();
    this.answer(done, () => (process.isFrozen ? succeeded(undefined) : failed(gone(process.vm))));
  }

  /** Done when the exit was seen. */
  kill(process: GuestProcess, done: Completion<void>): void {
    process.kill();
    this.answer(done, () => succeeded(undefined));
  }
}

export function gone(name: string): DwcpError {
  return new DwcpError('ERR_DWCP_GUEST_FAILED', `the process of "${name}" is gone`);
}
