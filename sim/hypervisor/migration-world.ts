/**
 * Two hosts, one migration, both real machines, and a script of choices that decides everything
 * else: which pending thing happens next, when the link breaks, who crashes, when the operator acts.
 * Records survive crashes, copies of the guest survive their agents, nothing else does.
 */
import { PAGE_DIGEST_BYTES } from '../../src/ports/memory.ts';
import {
  type DestinationEffect,
  type DestinationInput,
  DestinationMachine,
} from '../../src/protocols/migration/destination.ts';
import {
  type SourceEffect,
  type SourceInput,
  SourceMachine,
} from '../../src/protocols/migration/source.ts';
import type {
  ClaimRecord,
  DecisionRecord,
  FenceRecord,
  MigrationMessage,
  MigrationRecord,
  MigrationTerms,
  VerifyMode,
} from '../../src/protocols/migration/types.ts';
import { DwcpError, failed, type Outcome, succeeded } from '../../src/util/errors.ts';
import { GuestModel, type HostName } from './guest-model.ts';

export interface WorldOptions {
  readonly verify: VerifyMode;
  readonly pageCount: number;
  /** Lets a test plant a bug between a machine and the world. */
  readonly tamper?: (effect: SourceEffect, world: MigrationWorld) => readonly SourceEffect[];
}

export type Fault = 'linkDown' | 'crashSource' | 'crashDestination' | 'cancel' | 'timer' | 'claim';

interface Pending {
  readonly what: string;
  /** Things of one lane happen in order: a channel's messages, a disk's writes. */
  readonly lane: string;
  readonly run: () => void;
}

const REFERENCE = { kind: 'memory', name: 'vm', pid: 1, startTicks: 1, socketPath: '/x' } as const;
const LINK_LOST = new DwcpError('ERR_DWCP_PEER_UNREACHABLE', 'the link was lost');

export class MigrationWorld {
  readonly guest: GuestModel = new GuestModel();
  readonly records: Record<HostName, Map<string, MigrationRecord>> = {
    source: new Map(),
    destination: new Map(),
  };
  readonly trace: string[] = [];
  readonly terms: MigrationTerms;
  source: SourceMachine;
  destination: DestinationMachine | null = null;
  wasClaimed = false;
  settledBy: string | null = null;
  fencedWasSent = false;
  #linkUp = true;
  #pending: Pending[] = [];
  #timers = new Map<string, () => void>();
  #durable = new Set<string>();
  #nowUs = 0;
  readonly #options: WorldOptions;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.terms = {
      migrationId: 'm1',
      guestName: 'vm',
      guestKind: 'memory',
      transferId: 1,
      epoch: 2,
      memoryBytes: options.pageCount * 4096,
      pageBytes: 4096,
      machine: {},
      launchJson: '{}',
      maxDowntimeMs: 300,
      verify: options.verify,
    };
    this.source = this.#newSource(null);
    this.stepSource({ type: 'start' });
  }

  get pendingCount(): number {
    return this.#pending.length;
  }
  get linkIsUp(): boolean {
    return this.#linkUp;
  }

  /** Runs the chosen one of what may happen next; false when nothing is pending. */
  advance(choice: number): boolean {
    const ready = this.#pending.filter(
      (item, index) => this.#pending.findIndex((other) => other.lane === item.lane) === index,
    );
    const chosen = ready[choice % Math.max(1, ready.length)];
    if (chosen === undefined) return false;
    this.#pending = this.#pending.filter((item) => item !== chosen);
    this.#nowUs += 1000;
    this.trace.push(chosen.what);
    chosen.run();
    return true;
  }

  inject(fault: Fault): void {
    this.trace.push(`! ${fault}`);
    switch (fault) {
      case 'linkDown':
        return this.linkDown();
      case 'crashSource':
        return this.#crashSource();
      case 'crashDestination':
        return this.#crashDestination();
      case 'cancel':
        return this.stepSource({ type: 'cancel' });
      case 'claim':
        // The operator vouches: the destination host is off for good.
        this.guest.set('destination', 'killed');
        this.wasClaimed = true;
        return this.stepSource({ type: 'claim', operator: 'ada' });
      case 'timer':
        return this.fireTimers();
    }
  }

  fireTimers(): void {
    const due = [...this.#timers.values()];
    this.#timers.clear();
    this.#nowUs += 600_000_000;
    for (const fire of due) fire();
  }

  linkDown(): void {
    if (!this.#linkUp) return;
    this.#linkUp = false;
    this.#pending = this.#pending.filter((item) => !item.lane.startsWith('wire'));
    this.stepSource({ type: 'linkDown', error: LINK_LOST });
    this.#stepDestination({ type: 'linkDown', error: LINK_LOST });
  }

  linkUp(peerRestarted: boolean): void {
    if (this.#linkUp) return;
    this.#linkUp = true;
    this.#stepDestination({ type: 'linkUp', peerRestarted });
    this.stepSource({ type: 'linkUp', peerRestarted });
  }

  #crashSource(): void {
    this.linkDown();
    this.#forget('source');
    const fence = this.records.source.get('fence/m1')?.value as FenceRecord | undefined;
    if (fence === undefined) {
      // No record: nothing was given up, so the agent's end alone must not stop the guest for good.
      // A restarted agent re-adopts it as its own and lets it run.
      this.source = this.#newSource(null);
      this.settledBy = 'crash before the fence';
      if (this.guest.copies.source === 'stopped') this.guest.set('source', 'running');
      return;
    }
    const claim = this.records.source.get('claim/m1')?.value as ClaimRecord | undefined;
    this.source = this.#newSource({ claimedBy: claim?.operator ?? null });
    this.stepSource({ type: 'start' });
  }

  #crashDestination(): void {
    this.linkDown();
    this.#forget('destination');
    this.destination = null;
    const record = this.#decision();
    if (record?.verdict === 'commit') return this.#restoreDestination(record);
    // removeOrphans: an incoming guest without a commit is killed at start.
    if (this.guest.copies.destination === 'stopped') this.guest.set('destination', 'absent');
  }

  #forget(host: HostName): void {
    this.#pending = this.#pending.filter((item) => !item.lane.includes(host));
    for (const key of [...this.#timers.keys()]) if (key.startsWith(host)) this.#timers.delete(key);
    for (const key of [...this.#durable]) if (key.startsWith(host)) this.#durable.delete(key);
  }

  #decision(): DecisionRecord | null {
    return (this.records.destination.get('decision/m1')?.value as DecisionRecord) ?? null;
  }

  #newSource(restored: { readonly claimedBy: string | null } | null): SourceMachine {
    return new SourceMachine({
      terms: restored === null ? this.terms : { ...this.terms, verify: 'off' },
      to: 'b',
      fence: { reference: REFERENCE },
      linkIsUp: this.#linkUp,
      restored,
    });
  }

  #restoreDestination(restored: DecisionRecord | null): void {
    const isRunning = this.guest.copies.destination === 'running';
    const options = { migrationId: 'm1', from: 'a', terms: null, restored, isRunning };
    this.destination = new DestinationMachine(options);
    this.#stepDestination({ type: 'start' });
  }

  stepSource(input: SourceInput): void {
    const effects = this.source.step({ ...input, nowUs: this.#nowUs });
    const { tamper } = this.#options;
    for (const effect of effects) {
      for (const real of tamper === undefined ? [effect] : tamper(effect, this)) {
        this.#performSource(real);
      }
    }
  }

  #stepDestination(input: DestinationInput): void {
    if (this.destination === null) return;
    const effects = this.destination.step({ ...input, nowUs: this.#nowUs });
    for (const effect of effects) this.#performDestination(effect);
  }

  #performSource(effect: SourceEffect): void {
    const later = (what: string, run: () => void): void =>
      this.#later('source host', `source ${what}`, run);
    const done = (operation: 'fence' | 'abortGuest' | 'unfence' | 'release'): void =>
      this.stepSource({ type: 'done', operation, outcome: succeeded(undefined) });
    const report = { sentPages: 100, remainingBytes: 0, elapsedUs: 1000, stopped: false };
    switch (effect.type) {
      case 'openOutgoing':
        return later('opens', () => this.stepSource({ type: 'opened', outcome: succeeded(null) }));
      case 'round':
        return later('round', () =>
          this.stepSource({
            type: 'roundDone',
            outcome: succeeded(report),
            dirtyBytesPerSec: 0,
            maxBytesPerSec: 0,
          }),
        );
      case 'stopAndCopy':
        return later('stops and copies', () => {
          // An abort that was performed first has closed the migration: nothing stops any more.
          if (this.source.phase !== 'stopAndCopy') return;
          this.guest.set('source', 'stopped');
          this.stepSource({ type: 'copied', outcome: succeeded(report) });
        });
      case 'fence':
        return later('fences', () => {
          this.guest.set('source', 'stopped');
          done('fence');
        });
      case 'digests': {
        const { firstPage, pageCount } = effect;
        const outcome = succeeded(new Uint8Array(pageCount * PAGE_DIGEST_BYTES));
        return later('digests', () => this.stepSource({ type: 'digests', firstPage, outcome }));
      }
      case 'abortGuest':
      case 'unfence':
        return later(effect.type, () => {
          this.guest.set('source', 'running');
          done(effect.type);
        });
      case 'release':
        return later('releases', () => {
          this.guest.set('source', 'killed');
          done('release');
        });
      case 'finished':
        this.settledBy ??= effect.result.type;
        return;
      default:
        return this.#performCommon('source', effect, (input) => this.stepSource(input));
    }
  }

  #performDestination(effect: DestinationEffect): void {
    const step = (input: DestinationInput): void => this.#stepDestination(input);
    const later = (what: string, run: () => void): void =>
      this.#later('destination host', `destination ${what}`, run);
    switch (effect.type) {
      case 'prepareIncoming':
        return later('prepares', () => {
          this.guest.set('destination', 'stopped');
          step({ type: 'prepared', outcome: succeeded({ endpoint: {}, reference: REFERENCE }) });
        });
      case 'load':
        return later('loads', () => step({ type: 'loaded', outcome: succeeded(undefined) }));
      case 'resume':
        return later('resumes', () => {
          const isAlive = this.guest.copies.destination !== 'killed';
          if (isAlive) this.guest.set('destination', 'running');
          const outcome: Outcome<typeof REFERENCE> = isAlive
            ? succeeded(REFERENCE)
            : failed(new DwcpError('ERR_DWCP_GUEST_FAILED', 'gone'));
          step({ type: 'resumed', outcome });
        });
      case 'discard':
        return later('discards', () => {
          this.guest.set('destination', 'absent');
          step({ type: 'discarded', outcome: succeeded(undefined) });
        });
      case 'digests': {
        const { firstPage, pageCount } = effect;
        const outcome = succeeded(new Uint8Array(pageCount * PAGE_DIGEST_BYTES));
        return later('digests', () => step({ type: 'digests', firstPage, outcome }));
      }
      case 'finished':
        this.destination = null;
        return;
      default:
        return this.#performCommon('destination', effect, step);
    }
  }

  #performCommon(
    host: HostName,
    effect: Extract<SourceEffect & DestinationEffect, { type: string }>,
    step: (input: SourceInput & DestinationInput) => void,
  ): void {
    switch (effect.type) {
      case 'persist':
        return this.#later(`disk ${host}`, `${host} stores ${effect.key}`, () => {
          this.records[host].set(effect.key, effect.record);
          this.#durable.add(`${host} ${effect.token}`);
          step({ type: 'stored', token: effect.token, outcome: succeeded(undefined) });
        });
      case 'forget':
        return this.#later(`disk ${host}`, `${host} forgets ${effect.key}`, () => {
          this.records[host].delete(effect.key);
          step({ type: 'stored', token: effect.token, outcome: succeeded(undefined) });
        });
      case 'send': {
        if (effect.after !== null && !this.#durable.has(`${host} ${effect.after}`)) {
          this.guest.violations.push(`${effect.message.type} overtook its record`);
        }
        if (effect.message.type === 'fenced') this.fencedWasSent = true;
        if (!this.#linkUp) return;
        return this.#later(`wire ${host}`, `${host} -> ${effect.message.type}`, () =>
          this.#deliver(host, effect.message),
        );
      }
      case 'setTimer':
        this.#timers.set(`${host} ${effect.id}`, () => step({ type: 'timer', id: effect.id }));
        return;
      case 'cancelTimer':
        this.#timers.delete(`${host} ${effect.id}`);
        return;
      case 'decided':
        return;
    }
  }

  #deliver(from: HostName, message: MigrationMessage): void {
    if (from === 'destination') return this.stepSource({ type: 'message', message });
    if (this.destination === null) {
      if (message.type === 'prepareRequest') {
        const options = { migrationId: 'm1', from: 'a', restored: null, isRunning: false };
        this.destination = new DestinationMachine({ ...options, terms: message.terms });
        return this.#stepDestination({ type: 'start' });
      }
      const needsRecord =
        message.type === 'decisionQuery' || message.type === 'fenced' || message.type === 'settled';
      if (!needsRecord) return;
      this.#restoreDestination(this.#decision());
    }
    this.#stepDestination({ type: 'message', message });
  }

  #later(lane: string, what: string, run: () => void): void {
    this.#pending.push({ lane, what, run });
  }
}
