/** The life of one bulk stream: connect, prove who we are, carry chunks, report health, come again. */
import type { RandomStream } from '../ports/random.ts';
import type {
  BulkDialOptions,
  BulkLink,
  BulkStream,
  BulkStreamEvent,
  BulkTransport,
  CongestionControl,
  HostPort,
} from '../ports/transport.ts';
import { checkAccept, type JoinKey, makeJoin, NONCE_BYTES } from '../protocols/link/stream-join.ts';
import { DwcpError } from '../util/errors.ts';
import { backoffUs } from './backoff.ts';
import type { BulkInbox } from './bulk-inbox.ts';
import type { ActorContext, ActorRef, SpawnOptions } from './system.ts';
import type { TelemetrySample } from './telemetry.ts';

export interface StreamOptions {
  readonly name: string;
  readonly peer: string;
  readonly link: BulkLink;
  readonly telemetry: ActorRef<TelemetrySample> | null;
  /** The stream carries chunks from now on; told again, with another id, when it came back. */
  readonly onJoined: (stream: number) => void;
  /** It could not be made to stand; it is tried again. */
  readonly onTrouble: (error: DwcpError) => void;
  /** It carried chunks and failed, by damage for one; the others carry on with what it had on its way. */
  readonly onLost: (error: DwcpError) => void;
}

export interface DialledStreamOptions extends StreamOptions {
  readonly bulk: BulkTransport;
  readonly dial: BulkDialOptions;
  readonly nodeId: string;
  readonly streamIndex: number;
  readonly key: JoinKey;
  readonly random: RandomStream;
  readonly randomBytes: (count: number) => Uint8Array;
}

export type StreamMessage =
  | { readonly type: 'dial' }
  | { readonly type: 'event'; readonly attempt: number; readonly event: BulkStreamEvent }
  | { readonly type: 'joinTimeout' }
  | { readonly type: 'sample' };

const JOIN_TIMEOUT_US = 5_000_000;
const SAMPLE_US = 1_000_000;
/** A stream has at most its join and its end to tell. */
const MAILBOX_LIMIT = 16;

/** Our side dials, and dials again whenever the stream is lost. */
export function dialledStream(
  options: DialledStreamOptions,
): SpawnOptions<DialledStream, StreamMessage> {
  return {
    name: options.name,
    mailboxLimit: MAILBOX_LIMIT,
    initialState: (context) => {
      const stream = new DialledStream(options);
      stream.receive({ type: 'dial' }, context);
      return stream;
    },
    behavior: (stream, message, context) => {
      stream.receive(message, context);
      return stream;
    },
    onStop: (stream) => stream.close(),
  };
}

class DialledStream {
  readonly #options: DialledStreamOptions;
  #stream: BulkStream | null = null;
  #attempt = 0;
  #failures = 0;
  #joined = false;
  #nonce: Uint8Array = new Uint8Array(0);

  constructor(options: DialledStreamOptions) {
    this.#options = options;
  }

  receive(message: StreamMessage, context: ActorContext<StreamMessage>): void {
    switch (message.type) {
      case 'dial':
        this.#dial(context);
        return;
      case 'event':
        if (message.attempt === this.#attempt) this.#onEvent(message.event, context);
        return;
      case 'joinTimeout': {
        const { address } = this.#options.dial;
        this.#retry(context, joinTimedOut(address));
        return;
      }
      case 'sample':
        if (!sample(this.#stream, this.#options, context)) this.#retry(context);
        return;
    }
  }

  close(): void {
    this.#stream?.close();
    this.#stream = null;
  }

  #dial(context: ActorContext<StreamMessage>): void {
    this.#attempt += 1;
    const attempt = this.#attempt;
    this.#stream = this.#options.bulk.dial(this.#options.dial);
    this.#stream.subscribe(context.listener((event) => ({ type: 'event', attempt, event })));
    context.setTimer('join', context.nowUs() + JOIN_TIMEOUT_US, { type: 'joinTimeout' });
  }

  #onEvent(event: BulkStreamEvent, context: ActorContext<StreamMessage>): void {
    const { key, nodeId, streamIndex, link, randomBytes, onJoined } = this.#options;
    switch (event.type) {
      case 'challenge':
        this.#nonce = randomBytes(NONCE_BYTES);
        this.#stream?.sendJoin(
          makeJoin(key, event.challenge, { node: nodeId, streamIndex, nonce: this.#nonce }),
        );
        return;
      case 'join': {
        const stream = this.#stream;
        const isOurs = checkAccept(key, event.challenge, this.#nonce, event.message);
        if (stream === null || this.#joined || !isOurs) {
          this.#retry(context);
          return;
        }
        this.#joined = true;
        this.#failures = 0;
        stream.attach(link);
        context.cancelTimer('join');
        context.setTimer('sample', context.nowUs() + SAMPLE_US, { type: 'sample' });
        context.effect(() => onJoined(stream.id));
        return;
      }
      case 'closed':
        lost(event, this.#joined, this.#options, context);
        // A stream that stood is somebody else's news; one that may not be carried as asked is told of.
        this.#retry(context, this.#joined && !isUnsupported(event) ? null : event.error);
        return;
    }
  }

  #retry(context: ActorContext<StreamMessage>, trouble: DwcpError | null = null): void {
    if (trouble !== null) context.effect(() => this.#options.onTrouble(trouble));
    this.close();
    this.#joined = false;
    this.#attempt += 1;
    context.cancelTimer('join');
    context.cancelTimer('sample');
    const atUs = context.nowUs() + backoffUs(this.#failures, this.#options.random);
    this.#failures += 1;
    context.setTimer('dial', atUs, { type: 'dial' });
  }
}

function isUnsupported(event: BulkStreamEvent): boolean {
  return event.type === 'closed' && event.error?.code === 'ERR_DWCP_UNSUPPORTED';
}

/** The peer dialled it and the link accepted its join; when it is lost the actor ends. */
export function acceptedStream(
  options: StreamOptions & {
    readonly inbox: BulkInbox;
    readonly congestionControl: CongestionControl;
  },
): SpawnOptions<BulkStream, StreamMessage> {
  return {
    name: options.name,
    mailboxLimit: MAILBOX_LIMIT,
    initialState: (context) => {
      const { inbox, link, onJoined } = options;
      inbox.handTo(context.listener((event) => ({ type: 'event', attempt: 0, event })));
      inbox.stream.setCongestionControl(options.congestionControl);
      inbox.stream.attach(link);
      context.setTimer('sample', context.nowUs() + SAMPLE_US, { type: 'sample' });
      context.effect(() => onJoined(inbox.stream.id));
      return inbox.stream;
    },
    behavior: (stream, message, context) => {
      const isLost = message.type === 'event' && message.event.type === 'closed';
      if (message.type === 'event') lost(message.event, true, options, context);
      const alive = message.type !== 'sample' || sample(stream, options, context);
      if (isLost || !alive) context.stop(context.self);
      return stream;
    },
    onStop: (stream) => stream.close(),
  };
}

function lost(
  event: BulkStreamEvent,
  joined: boolean,
  options: StreamOptions,
  context: ActorContext<StreamMessage>,
): void {
  if (!joined || event.type !== 'closed' || event.error === null) return;
  const { error } = event;
  // That the peer closed it is the peer's decision, and its news.
  if (error.errno === 'ECONNRESET') return;
  context.effect(() => options.onLost(error));
}

/** False when the kernel says that the connection is gone. */
function sample(
  stream: BulkStream | null,
  options: StreamOptions,
  context: ActorContext<StreamMessage>,
): boolean {
  const info = stream?.info() ?? null;
  if (info === null) return false;
  const atUs = context.nowUs();
  const { peer, name } = options;
  options.telemetry?.tell({ type: 'stream', peer, atUs, stream: name, info });
  context.setTimer('sample', atUs + SAMPLE_US, { type: 'sample' });
  return true;
}

function joinTimedOut({ host, port }: HostPort): DwcpError {
  const what = `the bulk stream to ${host}:${port} did not join in ${JOIN_TIMEOUT_US / 1e6} s`;
  return new DwcpError('ERR_DWCP_TIMEOUT', what);
}
