/** The Hypervisor port without memory: guests that only run, stop and move. Copies outlive agents. */

import type {
  Guest,
  GuestDescription,
  GuestReference,
  GuestState,
  Hypervisor,
  IncomingGuest,
  IncomingOptions,
  OutgoingMigration,
  RoundReport,
} from '../../src/ports/hypervisor.ts';
import { PAGE_DIGEST_BYTES } from '../../src/ports/memory.ts';
import { type Completion, DwcpError, failed, succeeded } from '../../src/util/errors.ts';

/** One copy of a guest on one host: what a process would be. */
export interface SimulatedCopy {
  readonly reference: GuestReference;
  readonly description: GuestDescription;
  state: GuestState | 'killed';
}

export interface SimulatedHypervisorOptions {
  /** Happens later, never inside the call that asked. */
  readonly defer: (run: () => void) => void;
  /** Pages whose digest at this host differs from what was sent. */
  readonly damagedPages?: ReadonlySet<number>;
}

export class SimulatedHypervisor implements Hypervisor {
  readonly kind = 'memory';
  /** By socket path. Given to the next hypervisor of this host after a restart. */
  readonly copies: Map<string, SimulatedCopy>;
  readonly #options: SimulatedHypervisorOptions;

  constructor(options: SimulatedHypervisorOptions, copies: Map<string, SimulatedCopy> = new Map()) {
    this.#options = options;
    this.copies = copies;
  }

  launch(name: string, memoryBytes: number): Guest {
    const description = {
      kind: 'memory',
      name,
      memoryBytes,
      pageBytes: 4096,
      machine: {},
      launch: {},
    } as const;
    return this.#guest(this.#make(description, `/run/${name}`, 'running'));
  }

  adopt(reference: GuestReference, done: Completion<Guest>): void {
    const copy = this.copies.get(reference.socketPath);
    if (copy !== undefined && copy.state !== 'killed') return this.#answer(done, this.#guest(copy));
    const error = new DwcpError('ERR_DWCP_GUEST_FAILED', `"${reference.name}" is gone`);
    this.#options.defer(() => done(failed(error)));
  }

  prepareIncoming(options: IncomingOptions, done: Completion<IncomingGuest>): void {
    const { description, migrationId } = options;
    const copy = this.#make(description, `/run/${description.name}-${migrationId}`, 'paused');
    this.#answer(done, {
      endpoint: { simulated: true },
      reference: copy.reference,
      loaded: (loaded) => this.#answer(loaded, undefined),
      digests: (firstPage, pageCount, answered) =>
        this.#answer(answered, this.#digests(firstPage, pageCount)),
      resume: (resumed) => {
        copy.state = 'running';
        this.#answer(resumed, this.#guest(copy));
      },
      discard: (discarded) => {
        copy.state = 'killed';
        this.#answer(discarded, undefined);
      },
    });
  }

  removeOrphans(keep: ReadonlySet<string>, done: Completion<readonly string[]>): void {
    const orphans = [...this.copies.values()].filter(
      (copy) => copy.state === 'paused' && !keep.has(copy.reference.socketPath),
    );
    for (const orphan of orphans) orphan.state = 'killed';
    this.#answer(
      done,
      orphans.map((orphan) => orphan.reference.name),
    );
  }

  #make(description: GuestDescription, socketPath: string, state: GuestState): SimulatedCopy {
    const { kind, name } = description;
    const reference = { kind, name, pid: this.copies.size + 1, startTicks: 1, socketPath };
    const copy: SimulatedCopy = { reference, description, state };
    this.copies.set(socketPath, copy);
    return copy;
  }

  #guest(copy: SimulatedCopy): Guest {
    const become = (state: SimulatedCopy['state'], done: Completion<void>): void => {
      copy.state = state;
      this.#answer(done, undefined);
    };
    return {
      reference: copy.reference,
      description: copy.description,
      onExit: () => {},
      state: (done) => this.#answer(done, copy.state === 'killed' ? 'paused' : copy.state),
      workload: (done) => this.#answer(done, null),
      preflight: (_options, done) => this.#answer(done, undefined),
      unfence: (done) => become('running', done),
      openOutgoing: (_options, done) => this.#answer(done, this.#outgoing(copy, become)),
      kill: (done) => become('killed', done),
      detach: () => {},
    };
  }

  #outgoing(
    copy: SimulatedCopy,
    become: (state: SimulatedCopy['state'], done: Completion<void>) => void,
  ): OutgoingMigration {
    const pages = copy.description.memoryBytes / 4096;
    const report: RoundReport = {
      sentPages: pages,
      remainingBytes: 0,
      elapsedUs: 1000,
      stopped: false,
    };
    return {
      round: (done) => this.#answer(done, report),
      progress: () => ({
        ...{ zeroPages: 0, duplicatePages: 0, deltaPages: 0, compressedPages: 0 },
        rawPages: pages,
        rawBytes: copy.description.memoryBytes,
        wireBytes: copy.description.memoryBytes,
        ackedBytes: copy.description.memoryBytes,
        remainingBytes: 0,
        dirtyBytesPerSec: 0,
      }),
      throttle: (_percent, done) => this.#answer(done, undefined),
      stopAndCopy: (done) => {
        copy.state = 'paused';
        this.#answer(done, { ...report, sentPages: 0, stopped: true });
      },
      fence: (done) => become('fenced', done),
      digests: (_firstPage, pageCount, done) =>
        this.#answer(done, new Uint8Array(pageCount * PAGE_DIGEST_BYTES)),
      abort: (done) => become('running', done),
      release: (done) => become('killed', done),
      writeReturn: () => {},
    };
  }

  #digests(firstPage: number, pageCount: number): Uint8Array {
    const digests = new Uint8Array(pageCount * PAGE_DIGEST_BYTES);
    for (const page of this.#options.damagedPages ?? []) {
      if (page >= firstPage && page < firstPage + pageCount) {
        digests[(page - firstPage) * PAGE_DIGEST_BYTES] = 1;
      }
    }
    return digests;
  }

  #answer<T>(done: Completion<T>, value: T): void {
    this.#options.defer(() => done(succeeded(value)));
  }
}
