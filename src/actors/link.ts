/**
 * Everything between this node and one peer. The node with the lower id dials the control channel
 * and every bulk stream; the other one accepts, so that two nodes never cross.
 *
 *   waiting -> greeting (channel is open, hellos travel) -> joining (no bulk stream yet) -> up
 *
 * Whatever goes wrong in any of them leads back to waiting, with everything of that session closed.
 */
import { dwcp } from '#wire';
import type { RandomStream } from '../ports/random.ts';
import type { BulkLink, ControlChannel, ControlEvent } from '../ports/transport.ts';
import type { LinkAgreement } from '../protocols/link/handshake.ts';
import { LinkHandshake } from '../protocols/link/handshake.ts';
import { checkJoin, type JoinKey, makeAccept } from '../protocols/link/stream-join.ts';
import { hmacSha256 } from '../system/hmac.ts';
import { DwcpError, type Outcome } from '../util/errors.ts';
import { backoffUs } from './backoff.ts';
import type { BulkInbox } from './bulk-inbox.ts';
import type { LinkCommand, LinkReport } from './messages.ts';
import type { LinksOptions, PeerOptions } from './spawn-links.ts';
import { acceptedStream, dialledStream, type StreamMessage } from './stream.ts';
import type { ActorContext, ActorRef, SpawnOptions, Terminated } from './system.ts';

export interface LinkOptions {
  readonly links: LinksOptions;
  readonly peer: PeerOptions;
  readonly incarnation: Uint8Array;
  readonly bulkPort: number;
}

export type LinkMessage =
  | LinkCommand
  | { readonly type: 'dial' }
  | { readonly type: 'dialled'; readonly outcome: Outcome<ControlChannel> }
  /** On `full` the transport closes the channel; the peer dials again. */
  | { readonly type: 'accepted'; readonly channel: ControlChannel }
  | { readonly type: 'control'; readonly session: number; readonly event: ControlEvent }
  /** On `full` the transport closes the stream; the peer dials again. */
  | {
      readonly type: 'join';
      readonly inbox: BulkInbox;
      readonly message: Uint8Array;
      readonly challenge: Uint8Array;
    }
  | { readonly type: 'joined'; readonly session: number }
  | { readonly type: 'streamGone'; readonly session: number; readonly gone: Terminated }
  | { readonly type: 'tick' }
  | { readonly type: 'flush' };

const TICK_US = 1_000_000;
const SILENCE_US = 5_000_000;
const FLUSH_US = 10_000;
const CONNECT_TIMEOUT_MS = 5000;
const MAILBOX_LIMIT = 4096;
/** Envelopes the node has not taken yet; beyond it the link counts as lost. */
const MAX_WAITING_REPORTS = 1024;
const MAX_STREAMS = 64;

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

/** One control channel and what hangs on it. */
interface Session {
  readonly number: number;
  readonly channel: ControlChannel;
  readonly handshake: LinkHandshake;
  readonly key: JoinKey;
  readonly streams: Map<string, ActorRef<StreamMessage>>;
  /** Envelopes that came before our own side was up. */
  early: dwcp.IEnvelope[];
  agreement: LinkAgreement | null;
  bulk: BulkLink | null;
  up: boolean;
  heardUs: number;
  pingedUs: number;
  rttUs: number | null;
  streamCount: number;
}

type Context = ActorContext<LinkMessage>;

class Link {
  readonly #options: LinkOptions;
  readonly #peer: string;
  readonly #dials: boolean;
  readonly #random: RandomStream;
  #session: Session | null = null;
  #sessions = 0;
  #dialling = false;
  #failures = 0;
  #lastPeerIncarnation: Uint8Array | null = null;
  #reports: LinkReport[] = [];
  #reportedFailure: string | null = null;
  #maxBandwidth = 0;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#peer = options.peer.id;
    this.#dials = options.links.nodeId < options.peer.id;
    this.#random = options.links.random.stream(`link-${options.peer.id}`);
  }

  start(context: Context): void {
    context.setTimer('tick', context.nowUs() + TICK_US, { type: 'tick' });
    if (this.#dials) this.#dial(context);
  }

  close(): void {
    this.#session?.channel.close();
    this.#session?.bulk?.close();
    this.#session = null;
  }

  receive(message: LinkMessage, context: Context): void {
    switch (message.type) {
      case 'send':
        this.#sendEnvelope(message.envelope, context);
        return;
      case 'setMaxBandwidth':
        this.#maxBandwidth = message.bytesPerSec;
        this.#session?.bulk?.setMaxBandwidth(message.bytesPerSec);
        return;
      case 'dial':
        this.#dial(context);
        return;
      case 'dialled':
        this.#dialling = false;
        if (message.outcome.ok) this.#open(message.outcome.value, context);
        else this.#fail(message.outcome.error, context);
        return;
      case 'accepted':
        this.#accept(message.channel, context);
        return;
      case 'control':
        if (message.session === this.#session?.number) this.#onControl(message.event, context);
        return;
      case 'join':
        this.#onJoin(message, context);
        return;
      case 'joined':
        if (message.session === this.#session?.number) this.#goUp(this.#session, context);
        return;
      case 'streamGone':
        if (message.session === this.#session?.number) this.#onStreamGone(message.gone, context);
        return;
      case 'tick':
        this.#tick(context);
        return;
      case 'flush':
        this.#flush(context);
        return;
    }
  }

  // ---- opening ------------------------------------------------------------------------------------

  #dial(context: Context): void {
    if (this.#dialling || this.#session !== null) return;
    // A node that does not take our reports would only be flooded with more of them.
    if (this.#reports.length > 0) {
      this.#dialLater(context);
      return;
    }
    this.#dialling = true;
    const done = context.completion<ControlChannel>((outcome) => ({ type: 'dialled', outcome }));
    const { links, peer } = this.#options;
    context.effect(() => links.control.dial(peer.address, peer.id, done));
  }

  #dialLater(context: Context): void {
    const atUs = context.nowUs() + backoffUs(this.#failures, this.#random);
    this.#failures += 1;
    context.setTimer('dial', atUs, { type: 'dial' });
  }

  #accept(channel: ControlChannel, context: Context): void {
    if (this.#dials || this.#reports.length > 0) {
      channel.close();
      return;
    }
    // The peer knows better than we do that the old one is dead.
    if (this.#session !== null) this.#fail(lost(this.#peer, 'it connected anew'), context);
    this.#open(channel, context);
  }

  #open(channel: ControlChannel, context: Context): void {
    const { links, incarnation, bulkPort } = this.#options;
    this.#sessions += 1;
    const session: Session = {
      number: this.#sessions,
      channel,
      handshake: new LinkHandshake({
        ...{ nodeId: links.nodeId, peer: this.#peer, incarnation },
        ...{ features: [], requiredFeatures: [], lastPeerIncarnation: this.#lastPeerIncarnation },
        bulkListen: { host: links.bulkListen.host, port: bulkPort },
      }),
      key: { hmac: hmacSha256, secret: channel.secret },
      ...{ streams: new Map(), early: [], agreement: null, bulk: null, up: false },
      ...{ heardUs: context.nowUs(), pingedUs: 0, rttUs: null, streamCount: 0 },
    };
    this.#session = session;
    const { number } = session;
    const tell = context.listener<ControlEvent>((event) => {
      return { type: 'control', session: number, event };
    });
    channel.subscribe((event) => {
      // A frame that cannot be queued would be a hole in the conversation.
      if (tell(event) === 'full') channel.close();
    });
    this.#shakeHands(session, session.handshake.step({ type: 'start' }), context);
  }

  #shakeHands(
    session: Session,
    effects: ReturnType<LinkHandshake['step']>,
    context: Context,
  ): void {
    for (const effect of effects) {
      if (this.#session !== session) return;
      if (effect.type === 'send') this.#sendFrame(session, effect.envelope, context);
      else if (effect.type === 'refused') this.#fail(effect.error, context);
      else this.#establish(session, effect.agreement, context);
    }
  }

  #establish(session: Session, agreement: LinkAgreement, context: Context): void {
    const { links } = this.#options;
    session.agreement = agreement;
    session.bulk = links.bulk.openLink({
      peer: this.#peer,
      windowBytes: links.windowBytes,
      chunkBytes: links.chunkBytes,
    });
    session.bulk.setMaxBandwidth(this.#maxBandwidth);
    if (!this.#dials) return;
    for (let index = 0; index < links.streams; index += 1) {
      this.#dialStream(session, session.bulk, agreement, index, context);
    }
  }

  #dialStream(
    session: Session,
    bulk: BulkLink,
    agreement: LinkAgreement,
    streamIndex: number,
    context: Context,
  ): void {
    const { links, peer } = this.#options;
    const { host, port } = agreement.peerBulk;
    // A peer that listens on every address is reached where its control channel was.
    const anywhere = ['', '0.0.0.0', '::'].includes(host);
    const options = dialledStream({
      ...this.#streamOptions(session, bulk, context),
      bulk: links.bulk,
      dial: {
        address: { host: anywhere ? peer.address.host : host, port },
        localAddress: null,
        congestionControl: links.congestionControl,
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
      },
      ...{ nodeId: links.nodeId, streamIndex, key: session.key },
      random: links.random.stream(`stream-${this.#peer}-${streamIndex}`),
      randomBytes: (count) => links.random.bytes(count),
    });
    this.#adopt(session, context.spawn(options), context);
  }

  #onJoin(message: LinkMessage & { type: 'join' }, context: Context): void {
    const { inbox, challenge } = message;
    const session = this.#session;
    const bulk = session?.bulk ?? null;
    const full = (session?.streams.size ?? 0) >= MAX_STREAMS;
    if (session === null || bulk === null || full || this.#dials) {
      inbox.stream.close();
      return;
    }
    const outcome = checkJoin(session.key, this.#peer, challenge, message.message);
    if (!outcome.ok) {
      inbox.stream.close();
      return;
    }
    inbox.stream.sendJoin(makeAccept(session.key, challenge, outcome.value.nonce));
    const options = { ...this.#streamOptions(session, bulk, context), inbox };
    this.#adopt(session, context.spawn(acceptedStream(options)), context);
  }

  #streamOptions(session: Session, link: BulkLink, context: Context) {
    session.streamCount += 1;
    const { number } = session;
    return {
      name: `stream-${number}-${session.streamCount}`,
      peer: this.#peer,
      link,
      telemetry: this.#options.links.telemetry ?? null,
      onJoined: (): void => {
        context.self.tell({ type: 'joined', session: number });
      },
    };
  }

  #adopt(session: Session, ref: ActorRef<StreamMessage>, context: Context): void {
    session.streams.set(ref.path, ref);
    context.watch(ref, (gone) => ({ type: 'streamGone', session: session.number, gone }));
  }

  #onStreamGone(gone: Terminated, context: Context): void {
    this.#session?.streams.delete(gone.path);
    if (gone.reason === 'crashed') this.#fail(lost(this.#peer, `${gone.path} crashed`), context);
  }

  #goUp(session: Session, context: Context): void {
    const { agreement, bulk } = session;
    if (session.up || agreement === null || bulk === null) return;
    session.up = true;
    this.#failures = 0;
    this.#reportedFailure = null;
    this.#lastPeerIncarnation = agreement.peerIncarnation;
    const { peerRestarted } = agreement;
    const link: ActorRef<LinkCommand> = context.self;
    this.#report({ type: 'linkUp', peer: this.#peer, bulk, link, peerRestarted }, context);
    const early = session.early;
    session.early = [];
    for (const envelope of early) this.#reportEnvelope(session, envelope, context);
  }

  // ---- carrying -----------------------------------------------------------------------------------

  #onControl(event: ControlEvent, context: Context): void {
    const session = this.#session;
    if (session === null) return;
    if (event.type === 'closed') {
      this.#fail(event.error ?? lost(this.#peer, 'it closed the channel'), context);
      return;
    }
    session.heardUs = context.nowUs();
    const envelope = decodeEnvelope(event.frame);
    if (envelope === null) {
      const message = `${this.#peer} sent a frame that is no envelope`;
      this.#fail(new DwcpError('ERR_DWCP_PROTOCOL', message), context);
      return;
    }
    this.#onEnvelope(session, envelope, context);
  }

  #onEnvelope(session: Session, envelope: dwcp.IEnvelope, context: Context): void {
    const { linkHello, linkRefused, linkPing, linkPong } = envelope;
    if (linkHello) {
      const effects = session.handshake.step({ type: 'hello', hello: linkHello });
      this.#shakeHands(session, effects, context);
    } else if (linkRefused) {
      const effects = session.handshake.step({ type: 'refused', refusal: linkRefused });
      this.#shakeHands(session, effects, context);
    } else if (linkPing) {
      this.#sendFrame(session, { from: 'link', to: 'link', linkPong: linkPing }, context);
    } else if (linkPong) {
      session.rttUs = context.nowUs() - session.pingedUs;
    } else if (session.agreement === null) {
      const message = `${this.#peer} sent a message before its hello`;
      this.#fail(new DwcpError('ERR_DWCP_PROTOCOL', message), context);
    } else {
      this.#reportEnvelope(session, envelope, context);
    }
  }

  #reportEnvelope(session: Session, envelope: dwcp.IEnvelope, context: Context): void {
    const waiting = session.up ? this.#reports.length : session.early.length;
    if (waiting >= MAX_WAITING_REPORTS) {
      this.#fail(lost(this.#peer, 'this node takes no more messages'), context);
    } else if (!session.up) {
      session.early.push(envelope);
    } else {
      this.#report({ type: 'envelope', peer: this.#peer, envelope }, context);
    }
  }

  #sendEnvelope(envelope: dwcp.IEnvelope, context: Context): void {
    if (this.#session?.up === true) this.#sendFrame(this.#session, envelope, context);
  }

  #sendFrame(session: Session, envelope: dwcp.IEnvelope, context: Context): void {
    const result = session.channel.send(dwcp.Envelope.encode(envelope).finish());
    if (result === 'full') {
      this.#fail(lost(this.#peer, 'it does not read its control channel'), context);
    }
  }

  #tick(context: Context): void {
    const nowUs = context.nowUs();
    context.setTimer('tick', nowUs + TICK_US, { type: 'tick' });
    const session = this.#session;
    if (session === null) return;
    if (nowUs - session.heardUs >= SILENCE_US) {
      this.#fail(lost(this.#peer, `nothing was heard for ${SILENCE_US / 1e6} s`), context);
      return;
    }
    if (session.agreement === null || session.bulk === null) return;
    const counters = session.bulk.counters();
    const { rttUs } = session;
    this.#options.links.telemetry?.tell({
      ...{ type: 'link', peer: this.#peer, atUs: nowUs, rttUs, counters },
    });
    session.pingedUs = nowUs;
    this.#sendFrame(session, { from: 'link', to: 'link', linkPing: { token: nowUs } }, context);
  }

  // ---- ending and reporting -----------------------------------------------------------------------

  /** Back to waiting. A failure that only repeats itself is told once. */
  #fail(error: DwcpError, context: Context): void {
    const session = this.#session;
    this.#session = null;
    if (session !== null) {
      for (const stream of session.streams.values()) context.stop(stream as ActorRef<never>);
      session.channel.close();
      session.bulk?.close();
    }
    if (session?.up === true || this.#reportedFailure !== error.code) {
      this.#reportedFailure = error.code;
      this.#report({ type: 'linkDown', peer: this.#peer, error }, context);
    }
    if (this.#dials) this.#dialLater(context);
  }

  #report(report: LinkReport, context: Context): void {
    this.#reports.push(report);
    this.#flush(context);
  }

  #flush(context: Context): void {
    for (let next = this.#reports[0]; next !== undefined; next = this.#reports[0]) {
      const result = this.#options.links.report.tell(next);
      if (result === 'full') {
        context.setTimer('flush', context.nowUs() + FLUSH_US, { type: 'flush' });
        return;
      }
      this.#reports.shift();
    }
  }
}

function decodeEnvelope(frame: Uint8Array): dwcp.IEnvelope | null {
  try {
    return dwcp.Envelope.decode(frame);
  } catch {
    return null;
  }
}

function lost(peer: string, why: string): DwcpError {
  return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `lost ${peer}: ${why}`, {
    hint: 'It is dialled again by itself; check the peer if this lasts.',
  });
}
