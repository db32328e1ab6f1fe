/**
 * Everything between this node and one peer. The node with the lower id dials the control channel
 * and every bulk stream; the other one accepts, so that two nodes never cross.
 *
 *   waiting -> greeting (channel is open, hellos travel) -> joining (no bulk stream yet) -> up
 *
 * Whatever goes wrong in any of them leads back to waiting, with everything of that session closed but
 * the bulk link: its transfers stand still without streams, and go on in the next session, if that is with
 * the same process of the peer. To give them up earlier is for those who opened them.
 */
import type { dwcp } from '#wire';
import { DEFAULT_CIPHER } from '../ports/encryption.ts';
import type { BulkKeys, BulkLink, ControlChannel, ControlEvent } from '../ports/transport.ts';
import type { LinkAgreement } from '../protocols/link/handshake.ts';
import { equalBytes, LinkHandshake } from '../protocols/link/handshake.ts';
import { KEY_RANDOM_BYTES, wipe } from '../protocols/link/link-keys.ts';
import { requiredBy, SEALING_FEATURES } from '../protocols/link/sealing.ts';
import { hmacSha256 } from '../system/hmac.ts';
import { DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';
import { CONTENT_CACHE, contentFeatures } from './link-content.ts';
import { LinkDialler } from './link-dialler.ts';
import { deaf, lost, unreachedBulk, unreachedByPeer, unsupported } from './link-errors.ts';
import type { LinkContext, LinkMessage, StreamJoin } from './link-messages.ts';
import { LinkModes, MODES_FEATURE } from './link-modes.ts';
import { agreedRdma, rdmaFeatures, rdmaRequired } from './link-rdma.ts';
import { LinkReports } from './link-reports.ts';
import { sessionKeys } from './link-seal.ts';
import { LinkSession } from './link-session.ts';
import { LinkStreams } from './link-streams.ts';
import type { LinkCommand } from './messages.ts';
import type { LinksOptions, PeerOptions } from './spawn-links.ts';
import type { ActorRef, SpawnOptions, Terminated } from './system.ts';

export type { LinkMessage } from './link-messages.ts';

export interface LinkOptions {
  readonly links: LinksOptions;
  readonly peer: PeerOptions;
  readonly incarnation: Uint8Array;
  readonly bulkPort: number;
}

const TICK_US = 1_000_000;
/** Short, so that a transfer of a few seconds is long enough to climb in. */
const CLIMB_US = 200_000;
/** Streams join within a few round trips; somebody waits for an explanation after this. */
const STREAMS_WITHIN_US = 2_000_000;
const MAILBOX_LIMIT = 4096;
/** Envelopes the node has not taken yet; beyond it the link counts as lost. */
const MAX_WAITING_REPORTS = 1024;

export function linkActor(options: LinkOptions): SpawnOptions<Link, LinkMessage> {
  return {
    name: `link-${options.peer.id}`,
    mailboxLimit: MAILBOX_LIMIT,
    initialState: (context) => {
      const link = new Link(options);
      link.start(context);
      return link;
    },
    behavior: (link, message, context) => {
      link.receive(message, context);
      return link;
    },
    onStop: (link) => link.close(),
  };
}

class Link {
  readonly #options: LinkOptions;
  readonly #peer: string;
  readonly #dials: boolean;
  readonly #dialler: LinkDialler;
  readonly #reports: LinkReports;
  readonly #modes: LinkModes;
  #session: LinkSession | null = null;
  #sessions = 0;
  #lastPeerIncarnation: Uint8Array | null = null;
  #kept: { readonly bulk: BulkLink; readonly peerIncarnation: Uint8Array } | null = null;
  #reportedFailure: string | null = null;
  #reportedTrouble: string | null = null;
  #maxBandwidth = 0;
  /** Migrations that encode harder than the mode would have them. */
  readonly #pressing = new Set<string>();

  constructor(options: LinkOptions) {
    const { links, peer } = options;
    this.#options = options;
    this.#peer = peer.id;
    this.#dials = links.nodeId < peer.id;
    this.#dialler = new LinkDialler(links, peer);
    this.#reports = new LinkReports(links.report);
    this.#modes = new LinkModes({
      ...{ links, peer: peer.id, dials: this.#dials },
      send: (envelope, context) => {
        if (this.#session !== null) this.#send(this.#session, envelope, context);
      },
      report: (status, context) => {
        this.#reports.tell({ type: 'linkMode', peer: peer.id, status }, context);
      },
      onBroken: (error, context) => this.#fail(error, context),
    });
  }

  start(context: LinkContext): void {
    context.setTimer('tick', context.nowUs() + TICK_US, { type: 'tick' });
    if (this.#dials) this.#dial(context);
  }

  close(): void {
    this.#session?.close(null);
    this.#session = null;
    this.#kept?.bulk.close();
    this.#kept = null;
  }

  receive(message: LinkMessage, context: LinkContext): void {
    switch (message.type) {
      case 'send':
        if (this.#session?.isUp === true) this.#send(this.#session, message.envelope, context);
        return;
      case 'setMaxBandwidth':
        this.#maxBandwidth = message.bytesPerSec;
        this.#modes.limitBytesPerSec = message.bytesPerSec;
        this.#kept?.bulk.setMaxBandwidth(message.bytesPerSec);
        return;
      case 'press': {
        const outcome = this.#press(message.what, message.migrationId, context);
        return context.effect(() => message.done(outcome));
      }
      case 'release':
        if (this.#pressing.delete(message.migrationId) && this.#pressing.size === 0) {
          this.#kept?.bulk.setCodecPolicy(this.#modes.settings.codec);
        }
        return;
      case 'setMode':
        return this.#modes.setPolicy(message.policy, context);
      case 'willSend':
        return this.#modes.willSend(message.bytes, context);
      case 'mode':
        return this.#modes.receive(message.what, context);
      case 'dial':
        return this.#dial(context);
      case 'dialled':
        this.#dialler.answered();
        if (message.outcome.ok) return this.#open(message.outcome.value, context);
        return this.#fail(message.outcome.error, context);
      case 'accepted':
        return this.#accept(message.channel, context);
      case 'control':
        if (message.session === this.#session?.number) this.#onControl(message.event, context);
        return;
      case 'join':
        return this.#onJoin(message, context);
      case 'joined':
        if (message.session !== this.#session?.number) return;
        this.#session.established?.streams.joined(message.lane, message.stream, context);
        return this.#goUp(this.#session, context);
      case 'streamTrouble':
        if (message.session === this.#session?.number) this.#session.trouble = message.error;
        return;
      case 'lookForStreams':
        if (message.session !== this.#session?.number) return;
        this.#lookForStreams(this.#session, context);
        return;
      case 'streamGone':
        if (message.session === this.#session?.number) this.#onStreamGone(message.gone, context);
        return;
      case 'tick':
        return this.#tick(context);
      case 'climb':
        return this.#climb(context);
      case 'flush':
        return this.#reports.flush(context);
    }
  }

  #press(what: 'compress' | 'streams', migrationId: string, context: LinkContext): Outcome<void> {
    const established = this.#session?.established ?? null;
    if (established === null) return failed(lost(this.#peer, 'it is not connected'));
    const { streams, bulk } = established;
    if (what === 'streams') {
      const { wish, problem } = streams.press(context);
      if (wish !== null && this.#session !== null) {
        this.#send(this.#session, { from: 'link', to: 'link', linkLaneWish: wish }, context);
      }
      return problem === null ? succeeded(undefined) : failed(unsupported(problem));
    }
    const { kind } = this.#modes.settings.codec;
    if (kind === 'adaptive') return failed(unsupported('the link chooses by gain already'));
    this.#pressing.add(migrationId);
    bulk.setCodecPolicy({ kind: 'adaptive' });
    return succeeded(undefined);
  }

  // ---- opening ------------------------------------------------------------------------------------

  #dial(context: LinkContext): void {
    if (this.#session !== null) return;
    // A node that does not take our reports would only be flooded with more of them.
    if (this.#reports.waiting > 0) this.#dialler.later(context);
    else this.#dialler.dial(context);
  }

  #accept(channel: ControlChannel, context: LinkContext): void {
    if (this.#dials || this.#reports.waiting > 0) {
      channel.close();
      return;
    }
    // The peer knows better than we do that the old one is dead.
    if (this.#session !== null) this.#fail(lost(this.#peer, 'it connected anew'), context);
    this.#open(channel, context);
  }

  #open(channel: ControlChannel, context: LinkContext): void {
    const { links, peer, incarnation, bulkPort } = this.#options;
    const { rdma = null } = links;
    this.#sessions += 1;
    const handshake = new LinkHandshake({
      ...{ nodeId: links.nodeId, peer: this.#peer, incarnation },
      features: [
        ...[MODES_FEATURE, ...SEALING_FEATURES, ...contentFeatures(links.bulk)],
        ...rdmaFeatures(rdma),
      ],
      lastPeerIncarnation: this.#lastPeerIncarnation,
      requiredFeatures: [...requiredBy(peer.sealing ?? DEFAULT_CIPHER), ...rdmaRequired(rdma)],
      keyRandom: links.random.bytes(KEY_RANDOM_BYTES),
      bulkListen: { host: links.bulkListen.host, port: bulkPort },
    });
    const session = new LinkSession(this.#sessions, { channel, handshake }, context.nowUs());
    this.#session = session;
    const { number } = session;
    const tell = context.listener<ControlEvent>((event) => {
      return { type: 'control', session: number, event };
    });
    channel.subscribe((event) => {
      // A frame that cannot be queued would be a hole in the conversation.
      if (tell(event) === 'full') channel.close();
    });
    this.#shakeHands(session, handshake.step({ type: 'start' }), context);
  }

  #shakeHands(
    session: LinkSession,
    effects: ReturnType<LinkHandshake['step']>,
    context: LinkContext,
  ): void {
    for (const effect of effects) {
      if (this.#session !== session) return;
      if (effect.type === 'send') this.#send(session, effect.envelope, context);
      else if (effect.type === 'refused') this.#fail(effect.error, context);
      else this.#establish(session, effect.agreement, context);
    }
  }

  #establish(session: LinkSession, agreement: LinkAgreement, context: LinkContext): void {
    const { links, peer } = this.#options;
    const bulk = this.#bulkWith(session, agreement);
    if (agreement.features.includes(CONTENT_CACHE)) bulk.shareContent();
    const key = { hmac: hmacSha256, secret: session.channel.secret };
    const { number } = session;
    const shared = { links, peer, session: number, settings: this.#modes.settings };
    const streams = new LinkStreams(
      { ...shared, key, bulk, agreement, dials: this.#dials },
      context.nowUs(),
    );
    session.established = { agreement, bulk, streams };
    streams.start(context);
    this.#climbLater(context);
    this.#lookLater(session, context);
    if (!agreement.features.includes(MODES_FEATURE)) return;
    const takePingUs = (): number | null => session.takePingUs();
    this.#modes.begin({ bulk, streams, takePingUs }, context);
  }

  /** The one of the sessions before, while the peer's process is the same: its transfers go on. */
  #bulkWith({ channel }: LinkSession, agreement: LinkAgreement): BulkLink {
    const { nodeId } = this.#options.links;
    const keys = sessionKeys({ nodeId, peer: this.#peer, secret: channel.secret }, agreement);
    const bulk = this.#keptWith(keys, agreement) ?? this.#openBulk(keys, agreement);
    if (keys !== null) wipe(keys);
    const { wish, why } = agreedRdma(this.#options.links.rdma ?? null, this.#peer, agreement);
    bulk.setRdma(wish, why);
    return bulk;
  }

  #keptWith(keys: BulkKeys | null, { peerIncarnation }: LinkAgreement): BulkLink | null {
    const kept = this.#kept;
    if (kept === null || !equalBytes(kept.peerIncarnation, peerIncarnation)) return null;
    return kept.bulk.setKeys(keys) ? kept.bulk : null;
  }

  #openBulk(keys: BulkKeys | null, { peerIncarnation }: LinkAgreement): BulkLink {
    this.#kept?.bulk.close();
    const { windowBytes, bulk: transport } = this.#options.links;
    const { startBytes: chunkBytes } = this.#modes.settings.chunk;
    const bulk = transport.openLink({ peer: this.#peer, windowBytes, chunkBytes, keys });
    bulk.setMaxBandwidth(this.#maxBandwidth);
    this.#modes.prepare(bulk);
    this.#kept = { bulk, peerIncarnation };
    return bulk;
  }

  #onJoin(join: StreamJoin, context: LinkContext): void {
    const established = this.#session?.established ?? null;
    if (established === null) join.inbox.stream.close();
    else established.streams.accept(join, context);
  }

  #onStreamGone(gone: Terminated, context: LinkContext): void {
    this.#session?.established?.streams.gone(gone.path);
    if (gone.reason === 'crashed') this.#fail(lost(this.#peer, `${gone.path} crashed`), context);
  }

  #lookLater(session: LinkSession, context: LinkContext): void {
    const atUs = context.nowUs() + STREAMS_WITHIN_US;
    context.setTimer('look', atUs, { type: 'lookForStreams', session: session.number });
  }

  /** The peer speaks and no stream stands: a blocked port, most likely. Told once per reason. */
  #lookForStreams(session: LinkSession, context: LinkContext): void {
    if (session.established === null) return;
    this.#lookLater(session, context);
    const { agreement, bulk } = session.established;
    const error =
      bulk.counters().streams > 0
        ? null
        : this.#dials
          ? unreachedBulk(this.#peer, agreement.peerBulk.port, session.trouble)
          : unreachedByPeer(this.#peer, this.#options.bulkPort);
    if ((error?.message ?? null) === this.#reportedTrouble) return;
    this.#reportedTrouble = error?.message ?? null;
    this.#reports.tell({ type: 'linkTrouble', peer: this.#peer, error }, context);
  }

  #goUp(session: LinkSession, context: LinkContext): void {
    if (session.isUp || session.established === null) return;
    const { agreement, bulk } = session.established;
    session.isUp = true;
    this.#dialler.succeeded();
    this.#reportedFailure = null;
    this.#reportedTrouble = null;
    this.#lastPeerIncarnation = agreement.peerIncarnation;
    const { peerRestarted } = agreement;
    const link: ActorRef<LinkCommand> = context.self;
    this.#reports.tell({ type: 'linkUp', peer: this.#peer, bulk, link, peerRestarted }, context);
    const early = session.early;
    session.early = [];
    for (const envelope of early) this.#reportEnvelope(session, envelope, context);
  }

  // ---- carrying -----------------------------------------------------------------------------------

  #onControl(event: ControlEvent, context: LinkContext): void {
    const session = this.#session;
    if (session === null) return;
    if (event.type === 'closed') {
      return this.#fail(event.error ?? lost(this.#peer, 'it closed the channel'), context);
    }
    session.heardUs = context.nowUs();
    const envelope = session.decode(event.frame);
    if (envelope !== null) return this.#onEnvelope(session, envelope, context);
    const message = `${this.#peer} sent a frame that is no envelope`;
    this.#fail(new DwcpError('ERR_DWCP_PROTOCOL', message), context);
  }

  #onEnvelope(session: LinkSession, envelope: dwcp.IEnvelope, context: LinkContext): void {
    const { linkHello, linkRefused, linkPing, linkPong, linkLaneWish } = envelope;
    if (linkHello) {
      const effects = session.handshake.step({ type: 'hello', hello: linkHello });
      this.#shakeHands(session, effects, context);
    } else if (linkRefused) {
      const effects = session.handshake.step({ type: 'refused', refusal: linkRefused });
      this.#shakeHands(session, effects, context);
    } else if (linkPing) {
      this.#send(session, { from: 'link', to: 'link', linkPong: linkPing }, context);
    } else if (linkPong) {
      session.ponged(context.nowUs());
    } else if (linkLaneWish) {
      session.established?.streams.grant(linkLaneWish, context);
    } else if (session.established !== null && this.#modes.hear(envelope, context)) {
      return;
    } else if (session.established === null) {
      const message = `${this.#peer} sent a message before its hello`;
      this.#fail(new DwcpError('ERR_DWCP_PROTOCOL', message), context);
    } else {
      this.#reportEnvelope(session, envelope, context);
    }
  }

  #reportEnvelope(session: LinkSession, envelope: dwcp.IEnvelope, context: LinkContext): void {
    const waiting = session.isUp ? this.#reports.waiting : session.early.length;
    if (waiting >= MAX_WAITING_REPORTS) {
      this.#fail(lost(this.#peer, 'this node takes no more messages'), context);
    } else if (!session.isUp) {
      session.early.push(envelope);
    } else {
      this.#reports.tell({ type: 'envelope', peer: this.#peer, envelope }, context);
    }
  }

  #send(session: LinkSession, envelope: dwcp.IEnvelope, context: LinkContext): void {
    if (!session.send(envelope)) this.#fail(deaf(this.#peer), context);
  }

  #tick(context: LinkContext): void {
    const nowUs = context.nowUs();
    context.setTimer('tick', nowUs + TICK_US, { type: 'tick' });
    const session = this.#session;
    if (session === null) return;
    const { silenceMs } = this.#modes.settings;
    if (nowUs - session.heardUs >= silenceMs * 1000) {
      return this.#fail(lost(this.#peer, `nothing was heard for ${silenceMs / 1e3} s`), context);
    }
    if (session.established === null) return;
    const counters = session.established.bulk.counters();
    const { rttUs } = session;
    this.#options.links.telemetry?.tell({
      ...{ type: 'link', peer: this.#peer, atUs: nowUs, rttUs, counters },
    });
    if (!session.ping(nowUs)) this.#fail(deaf(this.#peer), context);
  }

  #climb(context: LinkContext): void {
    const session = this.#session;
    const streams = session?.established?.streams;
    if (session === null || streams === undefined) return;
    this.#climbLater(context);
    for (const linkLaneWish of streams.climb(context)) {
      this.#send(session, { from: 'link', to: 'link', linkLaneWish }, context);
    }
  }

  #climbLater(context: LinkContext): void {
    context.setTimer('climb', context.nowUs() + CLIMB_US, { type: 'climb' });
  }

  // ---- ending -------------------------------------------------------------------------------------

  /** Back to waiting. A failure that only repeats itself is told once. */
  #fail(error: DwcpError, context: LinkContext): void {
    const session = this.#session;
    this.#session = null;
    this.#modes.end(context);
    this.#reportedTrouble = null;
    session?.close(context);
    if (session?.isUp === true || this.#reportedFailure !== error.code) {
      this.#reportedFailure = error.code;
      this.#reports.tell({ type: 'linkDown', peer: this.#peer, error }, context);
    }
    if (this.#dials) this.#dialler.later(context);
  }
}
