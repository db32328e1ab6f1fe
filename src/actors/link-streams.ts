/**
 * The bulk streams of one session of a link. The side that dialled the control channel dials them;
 * the other one accepts those that prove the session's key. With `streams: 'auto'` their number is
 * steered by what each side measures of its own sending; only the dialler changes it, the other one
 * wishes.
 */
import type { dwcp } from '#wire';
import type { BulkLink } from '../ports/transport.ts';
import { type ClimberEffect, StreamClimber } from '../protocols/link/climber.ts';
import type { LinkAgreement } from '../protocols/link/handshake.ts';
import { LaneMeter } from '../protocols/link/lane-meter.ts';
import type { LinkSettings } from '../protocols/link/mode-settings.ts';
import { checkJoin, type JoinKey, makeAccept } from '../protocols/link/stream-join.ts';
import type { LinkContext, StreamJoin } from './link-messages.ts';
import type { LinksOptions, PeerOptions } from './spawn-links.ts';
import { acceptedStream, dialledStream, type StreamMessage, type StreamOptions } from './stream.ts';
import type { ActorRef } from './system.ts';

export interface LinkStreamsOptions {
  readonly links: LinksOptions;
  readonly peer: PeerOptions;
  /** Number of the session, so that news of an earlier one is not taken for ours. */
  readonly session: number;
  readonly key: JoinKey;
  readonly bulk: BulkLink;
  readonly agreement: LinkAgreement;
  /** Whether this side dials. */
  readonly dials: boolean;
  readonly settings: LinkSettings;
}

interface Lane {
  readonly ref: ActorRef<StreamMessage>;
  /** The number that both sides know it by. */
  readonly streamIndex: number;
  stream: number | null;
}

const CONNECT_TIMEOUT_MS = 5000;
const STREAMS_MAX = 512;
/** How long a number of streams is kept that a further one did not improve. */
const AUTO_REST_US = 30_000_000;

export class LinkStreams {
  readonly #options: LinkStreamsOptions;
  readonly #lanes = new Map<number, Lane>();
  #climber: StreamClimber | null;
  #settings: LinkSettings;
  readonly #meter: LaneMeter;
  #spawned = 0;
  /** It was said that the kernel lacks the congestion control. */
  #knowsKernel = false;

  constructor(options: LinkStreamsOptions, nowUs: number) {
    this.#options = options;
    this.#meter = new LaneMeter(nowUs);
    this.#settings = options.settings;
    this.#climber = climberOf(options.settings);
  }

  start(context: LinkContext): void {
    const { dials } = this.#options;
    for (let index = 0; dials && index < this.#settings.streams.start; index += 1)
      this.#dial(index, context);
  }

  /** Another mode: streams that are missing are dialled, those beyond its bounds are dropped. */
  tune(settings: LinkSettings, context: LinkContext): void {
    this.#settings = settings;
    this.#climber = climberOf(settings);
    if (!this.#options.dials) return;
    const { start, max } = settings.streams;
    const reason = `the link is in mode ${settings.mode}`;
    while (this.#lanes.size < start) this.#add(reason, context);
    for (const lane of [...this.#lanes.keys()].slice(max)) this.#drop(lane, reason, context);
  }

  accept(join: StreamJoin, context: LinkContext): void {
    const { key, peer, dials } = this.#options;
    const { inbox, challenge, message } = join;
    const isWelcome = !dials && this.#lanes.size < STREAMS_MAX;
    const outcome = isWelcome ? checkJoin(key, peer.id, challenge, message) : null;
    if (outcome === null || !outcome.ok) {
      inbox.stream.close();
      return;
    }
    const { nonce, streamIndex } = outcome.value;
    inbox.stream.sendJoin(makeAccept(key, challenge, nonce));
    const { congestionControl } = this.#settings;
    const options = { ...this.#common(context), inbox, congestionControl };
    this.#adopt(context.spawn(acceptedStream(options)), streamIndex, context);
  }

  joined(lane: number, stream: number, context: LinkContext): void {
    const known = this.#lanes.get(lane);
    if (known !== undefined) known.stream = stream;
    const asked = this.#settings.congestionControl;
    const lanes = this.#options.bulk.lanes().lanes;
    const inUse = lanes.find((each) => each.stream === stream)?.congestionControl ?? asked;
    if (inUse === asked || this.#knowsKernel) return;
    this.#knowsKernel = true;
    this.#log(`the kernel gave ${inUse} instead of ${asked}: modprobe tcp_${asked}`, context);
  }

  gone(path: string): void {
    for (const [number, { ref }] of this.#lanes) {
      if (ref.path === path) this.#forget(number);
    }
  }

  stop(context: LinkContext): void {
    for (const { ref } of this.#lanes.values()) context.stop(ref as ActorRef<never>);
  }

  /** Measures, and changes the number of streams; a wish is for the peer, which dials. */
  climb(context: LinkContext): readonly dwcp.ILinkLaneWish[] {
    const nowUs = context.nowUs();
    const known = [...this.#lanes].map(([lane, { stream }]) => ({ lane, stream }));
    const sample = this.#meter.sample(nowUs, known, this.#options.bulk.lanes());
    if (this.#climber === null || sample === null) return [];
    const effects = this.#climber.step({ nowUs, ...sample });
    if (!this.#options.dials) return effects.map((effect) => this.#wish(effect));
    for (const effect of effects) {
      if (effect.type === 'addLane') this.#add(effect.reason, context);
      else this.#drop(effect.lane, effect.reason, context);
    }
    return [];
  }

  /** The peer measures what it sends. It may ask for anything; the bounds are ours. */
  grant(wish: dwcp.ILinkLaneWish, context: LinkContext): void {
    if (!this.#options.dials || this.#climber === null) return;
    const reason = `${this.#options.peer.id}: ${wish.reason ?? ''}`;
    if (wish.add) return this.#add(reason, context);
    const lane = [...this.#lanes].find(([, each]) => each.streamIndex === wish.dropStreamIndex);
    if (lane !== undefined) this.#drop(lane[0], reason, context);
  }

  /** One more than steering would have, within the bounds; a side that does not dial wishes for it. */
  press(context: LinkContext): { wish: dwcp.ILinkLaneWish | null; problem: string | null } {
    const { max } = this.#settings.streams;
    const count = this.#lanes.size;
    if (this.#climber === null) return { wish: null, problem: `their number is set to ${max}` };
    if (count >= max) return { wish: null, problem: `there are ${count} of at most ${max}` };
    const reason = 'one more stream: a migration does not converge';
    if (!this.#options.dials) return { wish: { add: true, reason }, problem: null };
    this.#add(reason, context);
    return { wish: null, problem: null };
  }

  #wish(effect: ClimberEffect): dwcp.ILinkLaneWish {
    const { reason } = effect;
    if (effect.type === 'addLane') return { add: true, reason };
    return { dropStreamIndex: this.#lanes.get(effect.lane)?.streamIndex ?? 0, reason };
  }

  #add(reason: string, context: LinkContext): void {
    if (this.#lanes.size >= this.#settings.streams.max) return;
    const taken = new Set([...this.#lanes.values()].map(({ streamIndex }) => streamIndex));
    let index = 0;
    while (taken.has(index)) index += 1;
    this.#dial(index, context);
    this.#log(reason, context);
  }

  #drop(lane: number, reason: string, context: LinkContext): void {
    const ref = this.#lanes.get(lane)?.ref;
    if (ref === undefined || this.#lanes.size <= 1) return;
    this.#forget(lane);
    context.stop(ref as ActorRef<never>);
    this.#log(reason, context);
  }

  #forget(lane: number): void {
    this.#lanes.delete(lane);
    this.#meter.forget(lane);
  }

  #log(reason: string, context: LinkContext): void {
    const { links, peer } = this.#options;
    const fields = { peer: peer.id, streams: this.#lanes.size };
    context.effect(() => links.log?.(fields, reason));
  }

  #dial(streamIndex: number, context: LinkContext): void {
    const { links, peer, key, agreement } = this.#options;
    const { host, port } = agreement.peerBulk;
    // A peer that listens on every address is reached where its control channel was.
    const anywhere = ['', '0.0.0.0', '::'].includes(host);
    const options = dialledStream({
      ...this.#common(context),
      bulk: links.bulk,
      dial: {
        address: { host: anywhere ? peer.address.host : host, port },
        localAddress: null,
        congestionControl: this.#settings.congestionControl,
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
      },
      nodeId: links.nodeId,
      streamIndex,
      key,
      random: links.random.stream(`stream-${peer.id}-${streamIndex}`),
      randomBytes: (count) => links.random.bytes(count),
    });
    this.#adopt(context.spawn(options), streamIndex, context);
  }

  #common(context: LinkContext): StreamOptions {
    const { links, peer, session, bulk } = this.#options;
    this.#spawned += 1;
    const lane = this.#spawned;
    const name = `stream-${session}-${lane}`;
    return {
      name,
      peer: peer.id,
      link: bulk,
      telemetry: links.telemetry ?? null,
      onJoined: (stream): void => {
        context.self.tell({ type: 'joined', session, lane, stream });
      },
      onTrouble: (error): void => {
        context.self.tell({ type: 'streamTrouble', session, error });
      },
      onLost: ({ code, errno, message }): void => {
        links.log?.({ peer: peer.id, stream: name, code, errno }, message);
      },
    };
  }

  #adopt(ref: ActorRef<StreamMessage>, streamIndex: number, context: LinkContext): void {
    const { session } = this.#options;
    this.#lanes.set(this.#spawned, { ref, streamIndex, stream: null });
    context.watch(ref, (gone) => ({ type: 'streamGone', session, gone }));
  }
}

function climberOf({ streams: { min, max } }: LinkSettings): StreamClimber | null {
  if (min === max) return null;
  return new StreamClimber({ streamsMin: min, streamsMax: max, restUs: AUTO_REST_US });
}
