/**
 * Two hosts of a group, one migration, both real machines, the real ownership machine, and a script of
 * choices that decides everything else: which pending thing happens next, when the link breaks, who
 * crashes, when the group has no majority, when the operator acts. Records and the log survive crashes,
 * copies of the guest survive their agents, nothing else does.
 */
import { PAGE_DIGEST_BYTES, PAGE_HASH_BYTES, PAGE_HASH_KEY_BYTES } from '../../src/ports/memory.ts';
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
  ArrivalRecord,
  FenceRecord,
  IncomingRecord,
  MigrationMessage,
  MigrationRecord,
  MigrationTerms,
} from '../../src/protocols/migration/types.ts';
import type { OwnershipCommand, VmOwnership } from '../../src/protocols/ownership/types.ts';
import { DwcpError, failed, type Outcome, succeeded } from '../../src/util/errors.ts';
import { GuestModel, type HostName } from './guest-model.ts';
import { type Fault, POSTCOPY_LADDER, STALLED, type WorldOptions } from './migration-script.ts';
import { OwnershipLog } from './ownership-log.ts';
import { PostcopyStream } from './postcopy-stream.ts';

export { FAULTS, type Fault, type WorldOptions } from './migration-script.ts';

interface Pending {
  readonly what: string;
  /** Things of one lane happen in order: a channel's messages, a disk's writes. */
  readonly lane: string;
  readonly run: () => void;
}

const REFERENCE = { kind: 'memory', name: 'vm', pid: 1, startTicks: 1, socketPath: '/x' } as const;
const ABORT: OwnershipCommand = {
  ...({ type: 'abort', vm: 'vm', epoch: 1, migrationId: 'm1', host: 'a' } as const),
  reason: 'no session moves it',
};
const GONE = new DwcpError('ERR_DWCP_GUEST_FAILED', 'its process is gone');
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
  readonly log: OwnershipLog;
  wasClaimed = false;
  /** Null while its session runs; a restarted agent without a fence has none. */
  settledBy: string | null = null;
  #hasQuorum = true;
  #destinationIsOff = false;
  #isResumed = false;
  fencedWasSent = false;
  readonly stream: PostcopyStream;
  #linkUp = true;
  /** Since the link was up last. */
  readonly #restarted = new Set<HostName>();
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
      guestKind: options.postcopy === true ? 'qemu' : 'memory',
      transferId: 1,
      epoch: 2,
      memoryBytes: options.pageCount * 4096,
      pageBytes: 4096,
      machine: {},
      launchJson: '{}',
      maxDowntimeMs: 300,
      resumeGraceMs: 300_000,
      verify: options.verify,
      allowPostcopy: options.postcopy ?? false,
    };
    this.stream = new PostcopyStream(this.guest, (what, run) => this.#later('pages', what, run));
    this.log = new OwnershipLog(
      (lane, what, run) => this.#later(lane, what, run),
      (host, vm) => this.#hear(host, vm),
    );
    this.log.append({ type: 'register', vm: 'vm', host: 'a' });
    this.source = this.#newSource(false);
    while (this.advance(0));
    this.stepSource({ type: 'start' });
  }

  get pendingCount(): number {
    return this.#pending.length;
  }
  get nowUs(): number {
    return this.#nowUs;
  }
  get linkIsUp(): boolean {
    return this.#linkUp;
  }

  /** Runs the chosen one of what may happen next; false when nothing is pending. */
  advance(choice: number): boolean {
    const ready = this.#pending.filter(
      (item, index) =>
        this.#pending.findIndex((other) => other.lane === item.lane) === index &&
        (this.#hasQuorum || !item.lane.startsWith('log')) &&
        (this.#linkUp || item.lane !== 'pages'),
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
      case 'linkUp':
        return this.linkUp();
      case 'crashSource':
        return this.#crashSource();
      case 'crashDestination':
        return this.#crashDestination();
      case 'cancel':
        return this.stepSource({ type: 'cancel' });
      case 'claim':
        return this.#claim();
      case 'claimElsewhere':
        return this.#claimElsewhere();
      case 'noQuorum':
        this.#hasQuorum = false;
        return;
      case 'quorum':
        this.#hasQuorum = true;
        return;
      case 'timer':
        return this.fireTimers();
    }
  }

  /** The operator vouches that nothing runs at the destination, which is off until this is settled. */
  #claim(): void {
    const vm = this.log.get('source');
    if (vm?.owner !== 'b' || this.#destinationIsOff) return;
    this.linkDown();
    this.guest.powerOff('destination');
    this.#destinationIsOff = true;
    this.destination = null;
    this.#forget('destination');
    this.stream.lose('destination');
    this.wasClaimed = true;
    const { epoch } = vm;
    const command = { type: 'claim', vm: 'vm', epoch, host: 'a', operator: 'ada' } as const;
    this.log.propose('source', command, null, (outcome) => {
      if (outcome.ok && outcome.value.ok) this.stepSource({ type: 'claimed', operator: 'ada' });
    });
  }

  /** The same for whoever owns it, by the third host, which starts it anew. */
  #claimElsewhere(): void {
    const vm = this.log.settled;
    if (vm === null || vm.owner === 'c') return;
    const owner = vm.owner === 'a' ? 'source' : 'destination';
    this.guest.powerOff(owner);
    const { epoch } = vm;
    this.log.append({ type: 'claim', vm: 'vm', epoch, host: 'c', operator: 'ada' });
    this.guest.runsElsewhere = true;
    if (owner === 'source') this.#crashSource();
    else this.#crashDestination();
  }

  /** A host that was off comes back. */
  revive(): void {
    if (!this.#destinationIsOff) return;
    this.#destinationIsOff = false;
    this.#crashDestination();
  }

  fireTimers(): void {
    const due = [...this.#timers.values()];
    this.#timers.clear();
    this.#nowUs += 600_000_000;
    this.log.runOutOfPatience();
    for (const fire of due) fire();
  }

  linkDown(): void {
    if (!this.#linkUp) return;
    this.#linkUp = false;
    this.#pending = this.#pending.filter((item) => !item.lane.startsWith('wire'));
    this.stepSource({ type: 'linkDown', error: LINK_LOST });
    this.#stepDestination({ type: 'linkDown', error: LINK_LOST });
  }

  linkUp(): void {
    if (this.#linkUp || this.#destinationIsOff) return;
    this.#linkUp = true;
    const restarted = new Set(this.#restarted);
    this.#restarted.clear();
    this.#stepDestination({ type: 'linkUp', peerRestarted: restarted.has('source') });
    this.stepSource({ type: 'linkUp', peerRestarted: restarted.has('destination') });
  }

  #crashSource(): void {
    this.linkDown();
    this.#forget('source');
    this.stream.lose('source');
    this.log.restart('source');
    const { source: records } = this.records;
    const isFenced = records.has('fence/m1');
    const isInRounds = records.has('outgoing/m1') && this.guest.copies.source !== 'killed';
    if (isFenced || !isInRounds) records.delete('outgoing/m1');
    if (isFenced || isInRounds) {
      this.settledBy = null;
      this.source = this.#newSource(isFenced);
      return this.stepSource({ type: 'start' });
    }
    this.settledBy ??= 'crash before the fence';
    // No record: `fenced` was never sent. It is ours as long as the log says so, and is asked for that.
    if (this.guest.copies.source !== 'killed') this.#confirmGuest();
  }

  /** What a restarted node does with a guest that it finds: it runs on, and stands still until confirmed. */
  #confirmGuest(): void {
    const command = { type: 'register', vm: 'vm', host: 'a' } as const;
    this.log.propose('source', command, null, (outcome) => {
      if (!outcome.ok || this.guest.copies.source === 'killed') return;
      const isOurs = outcome.value.vm?.owner === 'a';
      this.guest.set('source', isOurs ? 'running' : 'killed');
    });
  }

  #crashDestination(): void {
    if (this.#destinationIsOff) return;
    this.linkDown();
    this.#forget('destination');
    this.stream.lose('destination');
    this.log.restart('destination');
    this.destination = null;
    const { destination: records } = this.records;
    // Its guest is found by its own record.
    if (records.has('guest/vm')) {
      records.delete('arrival/m1');
      return void records.delete('incoming/m1');
    }
    const arrival = records.get('arrival/m1')?.value as ArrivalRecord | undefined;
    if (arrival !== undefined) {
      records.delete('incoming/m1');
      // What it lacks came over a stream that died with its agent.
      const isShort = arrival.postcopy && this.guest.copies.destination === 'stopped';
      if (isShort) this.guest.set('destination', 'killed');
      return this.#restoreDestination(arrival);
    }
    const incoming = records.get('incoming/m1')?.value as IncomingRecord | undefined;
    const isHalf = incoming !== undefined && this.guest.copies.destination === 'stopped';
    if (isHalf) return this.#restoreHalf(incoming);
    records.delete('incoming/m1');
    // removeOrphans: an incoming guest without a record is killed at start.
    if (this.guest.copies.destination === 'stopped') this.guest.set('destination', 'absent');
  }

  #forget(host: HostName): void {
    this.#restarted.add(host);
    // What was on its way into the log is lost, or not.
    const keepsProposals = this.trace.length % 2 === 0;
    this.#pending = this.#pending.filter(
      ({ lane }) => !lane.includes(host) || (keepsProposals && lane.startsWith('log')),
    );
    for (const key of [...this.#timers.keys()]) if (key.startsWith(host)) this.#timers.delete(key);
    for (const key of [...this.#durable]) if (key.startsWith(host)) this.#durable.delete(key);
  }

  #newSource(isRestored: boolean): SourceMachine {
    this.#isResumed = !isRestored && this.records.source.has('outgoing/m1');
    const fence = this.records.source.get('fence/m1')?.value as FenceRecord | undefined;
    return new SourceMachine({
      terms: isRestored ? { ...this.terms, verify: 'off' } : this.terms,
      isPostcopy: isRestored && (fence?.postcopy ?? false),
      self: 'a',
      to: 'b',
      fence: { reference: REFERENCE },
      linkIsUp: this.#linkUp,
      isRestored,
      isResumed: this.#isResumed,
      ...(this.#options.ladder === undefined ? {} : { ladder: this.#options.ladder }),
      ...(this.#options.postcopy === true ? { ladder: POSTCOPY_LADDER } : {}),
    });
  }

  #restoreDestination(record: ArrivalRecord): void {
    const copy = this.guest.copies.destination;
    const isAlive = copy === 'stopped' || copy === 'running';
    const begin = { type: 'arrived', record, isAlive } as const;
    this.destination = new DestinationMachine({ migrationId: 'm1', self: 'b', from: 'a', begin });
    this.#stepDestination({ type: 'start' });
  }

  #restoreHalf(record: IncomingRecord): void {
    const begin = { type: 'held', record } as const;
    this.destination = new DestinationMachine({ migrationId: 'm1', self: 'b', from: 'a', begin });
    this.#stepDestination({ type: 'start' });
  }

  /** What a node makes of the log beside its sessions: it aborts what nobody here is moving any more. */
  #hear(host: HostName, vm: VmOwnership | null): void {
    if (host === 'destination') return this.#stepDestination({ type: 'applied', vm });
    if (this.settledBy === null) return this.stepSource({ type: 'applied', vm });
    if (vm?.owner === 'a' && vm.migration !== null) this.#insist('source', ABORT);
    if (vm !== null && vm.owner !== 'a' && this.guest.copies.source === 'running') {
      this.#confirmGuest();
    }
  }

  #insist(host: HostName, command: OwnershipCommand): void {
    this.log.propose(host, command, null, () => {});
  }

  stepSource(input: SourceInput): void {
    if (this.settledBy !== null) return;
    const { tamper, tamperInput = (real: SourceInput) => real } = this.#options;
    const effects = this.source.step({ ...tamperInput(input), nowUs: this.#nowUs });
    for (const effect of effects) {
      for (const real of tamper === undefined ? [effect] : tamper(effect, this)) {
        this.#performSource(real);
      }
    }
  }

  #stepDestination(input: DestinationInput): void {
    if (this.destination === null) return;
    const effects = this.destination.step({ ...input, nowUs: this.#nowUs });
    const { tamperDestination } = this.#options;
    for (const effect of effects) {
      for (const real of tamperDestination?.(effect) ?? [effect]) this.#performDestination(real);
    }
  }

  #performSource(effect: SourceEffect): void {
    const later = (what: string, run: () => void): void =>
      this.#later('source host', `source ${what}`, run);
    const done = (operation: 'fence' | 'abortGuest' | 'unfence' | 'release'): void =>
      this.stepSource({ type: 'done', operation, outcome: succeeded(undefined) });
    const left = (outcome: Outcome<void>): void =>
      this.stepSource({ type: 'done', operation: 'postcopy', outcome });
    const last = { sentPages: 100, remainingBytes: 0, elapsedUs: 1000, stopped: false };
    const stalled = this.#options.postcopy === true ? STALLED : last;
    const report = this.#options.roundReport?.(this.source.round + 1) ?? stalled;
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
      case 'askHeld': {
        const { firstPage, pageCount } = effect;
        const key = new Uint8Array(PAGE_HASH_KEY_BYTES);
        return this.#send('source', { type: 'heldRequest', firstPage, pageCount, key });
      }
      case 'held':
        return later('compares', () => this.stepSource({ type: 'held', outcome: succeeded(1) }));
      case 'help': {
        const { help } = effect;
        const outcome = this.#options.helped?.(help) ?? succeeded(undefined);
        return later(`helps with ${help.type}`, () => this.stepSource({ type: 'helped', outcome }));
      }
      case 'stopAndCopy':
        return later('stops and copies', () => {
          // An abort that was performed first has closed the migration: nothing stops any more.
          if (this.source.phase !== 'stopAndCopy') return;
          this.guest.set('source', 'stopped');
          this.stepSource({ type: 'copied', outcome: succeeded(last) });
        });
      case 'postcopy':
        if (this.log.settled?.owner === 'a') this.guest.violations.push('it ran before the commit');
        return later('starts post-copy', () => this.stream.start(left));
      case 'stopForPostcopy':
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
          const isAlive = this.guest.copies.source !== 'killed';
          if (isAlive) this.guest.set('source', 'running');
          if (this.stream.ran && !this.wasClaimed) {
            this.guest.violations.push('a copy ran whose guest had gone on elsewhere');
          }
          const outcome: Outcome<void> = isAlive ? succeeded(undefined) : failed(GONE);
          this.stepSource({ type: 'done', operation: effect.type, outcome });
        });
      case 'release':
        return later('releases', () => {
          const isNeeded = this.stream.ran && !this.stream.isWhole;
          if (isNeeded && this.log.settled?.by.type === 'migrated') {
            this.guest.violations.push('pages were thrown away that nobody else has');
          }
          this.guest.set('source', 'killed');
          done('release');
        });
      case 'finished':
        this.settledBy ??= effect.result.type;
        this.#afterSource();
        // It may stand still since its agent died; the log says whether it may run.
        if (effect.result.type === 'stayed' && this.#isResumed) this.#confirmGuest();
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
      case 'resumeIncoming':
        return later('resumes receiving', () => {
          const isAlive = this.guest.copies.destination === 'stopped';
          const outcome = isAlive
            ? succeeded({ endpoint: {}, reference: REFERENCE })
            : failed<never>(GONE);
          step({ type: 'prepared', outcome });
        });
      case 'held': {
        const { firstPage, pageCount } = effect;
        const outcome = succeeded(new Uint8Array(pageCount * PAGE_HASH_BYTES));
        return later('hashes', () => step({ type: 'held', firstPage, outcome }));
      }
      case 'load':
        if (this.#isEarly)
          return this.stream.whenWhole((outcome) => step({ type: 'loaded', outcome }));
        return later('loads', () => step({ type: 'loaded', outcome: succeeded(undefined) }));
      case 'resume':
        if (this.#isEarly) {
          return this.stream.whenRunning((outcome) => {
            step({ type: 'resumed', outcome: outcome.ok ? succeeded(REFERENCE) : outcome });
          });
        }
        return later('resumes', () => {
          const isAlive = this.guest.copies.destination !== 'killed';
          if (isAlive) this.guest.set('destination', 'running');
          const outcome: Outcome<typeof REFERENCE> = isAlive ? succeeded(REFERENCE) : failed(GONE);
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

  /** Its memory was not all here when it became the destination's; one that an earlier agent left is judged by itself. */
  get #isEarly(): boolean {
    return this.destination?.awaitsMemory ?? false;
  }

  get isSettled(): boolean {
    const hasRecords = ['fence/m1', 'arrival/m1', 'incoming/m1', 'outgoing/m1'].some(
      (key) => this.records.source.has(key) || this.records.destination.has(key),
    );
    return this.settledBy !== null && !hasRecords && this.log.settled?.migration === null;
  }

  /** The session is over: what the log still has of it is the node's to clear. */
  #afterSource(): void {
    const vm = this.log.get('source');
    if (vm?.owner === 'a' && vm.migration !== null) this.#insist('source', ABORT);
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
        return this.#send(host, effect.message);
      }
      case 'propose': {
        const { command, patienceMs, token } = effect;
        return this.log.propose(host, command, patienceMs, (outcome) =>
          step({ type: 'proposed', token, outcome }),
        );
      }
      case 'insist':
        return this.#insist(host, effect.command);
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
    if (from === 'destination') {
      if (this.settledBy === null) this.stepSource({ type: 'message', message });
      return;
    }
    if (this.destination !== null) return this.#stepDestination({ type: 'message', message });
    if (message.type === 'prepareRequest') {
      const begin = { type: 'asked', terms: message.terms } as const;
      this.destination = new DestinationMachine({ migrationId: 'm1', self: 'b', from: 'a', begin });
      this.#stepDestination({ type: 'start' });
      return this.#stepDestination({ type: 'applied', vm: this.log.get('destination') });
    }
    this.#answerWithoutSession(message);
  }

  /** As the inbox of a node does. */
  #answerWithoutSession({ type }: MigrationMessage): void {
    const answer = (message: MigrationMessage): void => this.#send('destination', message);
    const unknown = new DwcpError('ERR_DWCP_MIGRATION_UNKNOWN', 'no such migration here');
    if (['fenced', 'digestBlock', 'reattach', 'regain'].includes(type)) {
      return answer({ type: 'migrationFailed', error: unknown });
    }
    if (type !== 'resumedQuery') return;
    const by = this.log.get('destination')?.by;
    if (by?.type !== 'migrated') return;
    const isHere = this.records.destination.has('guest/vm');
    answer(isHere ? { type: 'resumed' } : { type: 'migrationFailed', error: unknown });
  }

  #send(host: HostName, message: MigrationMessage): void {
    if (!this.#linkUp) return;
    this.#later(`wire ${host}`, `${host} -> ${message.type}`, () => this.#deliver(host, message));
  }

  #later(lane: string, what: string, run: () => void): void {
    this.#pending.push({ lane, what, run });
  }
}
