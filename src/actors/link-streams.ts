/**
 * The bulk streams of one session of a link. The side that dialled the control channel dials them;
 * the other one accepts those that prove the session's key.
 */
import type { BulkLink } from '../ports/transport.ts';
import type { LinkAgreement } from '../protocols/link/handshake.ts';
import { checkJoin, type JoinKey, makeAccept } from '../protocols/link/stream-join.ts';
import type { LinkContext, StreamJoin } from './link-messages.ts';
import type { LinksOptions, PeerOptions } from './spawn-links.ts';
import { acceptedStream, dialledStream, type StreamMessage, type StreamOptions } from './stream.ts';
import type { ActorRef, Terminated } from './system.ts';

export interface LinkStreamsOptions {
  readonly links: LinksOptions;
  readonly peer: PeerOptions;
  /** Number of the session, so that news of an earlier one is not taken for ours. */
  readonly session: number;
  readonly key: JoinKey;
  readonly bulk: BulkLink;
  readonly agreement: LinkAgreement;
}

const CONNECT_TIMEOUT_MS = 5000;
const MAX_STREAMS = 64;

export class LinkStreams {
  readonly #options: LinkStreamsOptions;
  readonly #streams = new Map<string, ActorRef<StreamMessage>>();
  #spawned = 0;

  constructor(options: LinkStreamsOptions) {
    this.#options = options;
  }

  dialAll(context: LinkContext): void {
    const { streams } = this.#options.links;
    for (let index = 0; index < streams; index += 1) this.#dial(index, context);
  }

  accept(join: StreamJoin, context: LinkContext): void {
    const { key, peer } = this.#options;
    const { inbox, challenge, message } = join;
    const isFull = this.#streams.size >= MAX_STREAMS;
    const outcome = isFull ? null : checkJoin(key, peer.id, challenge, message);
    if (outcome === null || !outcome.ok) {
      inbox.stream.close();
      return;
    }
    inbox.stream.sendJoin(makeAccept(key, challenge, outcome.value.nonce));
    this.#adopt(context.spawn(acceptedStream({ ...this.#common(context), inbox })), context);
  }

  gone(path: string): void {
    this.#streams.delete(path);
  }

  stop(context: LinkContext): void {
    for (const stream of this.#streams.values()) context.stop(stream as ActorRef<never>);
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
        congestionControl: links.congestionControl,
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
      },
      nodeId: links.nodeId,
      streamIndex,
      key,
      random: links.random.stream(`stream-${peer.id}-${streamIndex}`),
      randomBytes: (count) => links.random.bytes(count),
    });
    this.#adopt(context.spawn(options), context);
  }

  #common(context: LinkContext): StreamOptions {
    const { links, peer, session, bulk } = this.#options;
    this.#spawned += 1;
    return {
      name: `stream-${session}-${this.#spawned}`,
      peer: peer.id,
      link: bulk,
      telemetry: links.telemetry ?? null,
      onJoined: (): void => {
        context.self.tell({ type: 'joined', session });
      },
    };
  }

  #adopt(ref: ActorRef<StreamMessage>, context: LinkContext): void {
    const { session } = this.#options;
    this.#streams.set(ref.path, ref);
    context.watch(ref, (gone: Terminated) => ({ type: 'streamGone', session, gone }));
  }
}
