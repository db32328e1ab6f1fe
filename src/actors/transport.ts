/** The sockets of one host: listens, and hands every caller to the link of the peer it is. */
import type {
  BulkStream,
  BulkStreamEvent,
  ControlChannel,
  ControlListener,
  RefusedConnections,
} from '../ports/transport.ts';
import { claimedNode } from '../protocols/link/stream-join.ts';
import type { Outcome } from '../util/errors.ts';
import { BulkInbox } from './bulk-inbox.ts';
import { type LinkMessage, linkActor } from './link.ts';
import { OwnedControl } from './owned-control.ts';
import type { LinksOptions } from './spawn-links.ts';
import type { ActorContext, ActorRef, SpawnOptions } from './system.ts';

export type TransportMessage =
  | { readonly type: 'listening'; readonly outcome: Outcome<ControlListener> }
  | { readonly type: 'channel'; readonly channel: ControlChannel }
  | { readonly type: 'stream'; readonly stream: BulkStream }
  | { readonly type: 'streamEvent'; readonly number: number; readonly event: BulkStreamEvent }
  | { readonly type: 'joinTimeout'; readonly number: number };

const JOIN_TIMEOUT_US = 5_000_000;
/** Streams that have not said yet whose they are; a peer may dial all of its 512 at once. */
const MAX_STRANGERS = 512;
const MAILBOX_LIMIT = 1024;
const INCARNATION_BYTES = 16;

export function transportActor(options: LinksOptions): SpawnOptions<Transport, TransportMessage> {
  return {
    name: 'transport',
    mailboxLimit: MAILBOX_LIMIT,
    initialState: (context) => {
      const transport = new Transport(options);
      transport.start(context);
      return transport;
    },
    behavior: (transport, message, context) => {
      transport.receive(message, context);
      return transport;
    },
    onStop: (transport) => transport.close(),
  };
}

type Context = ActorContext<TransportMessage>;

class Transport {
  readonly #options: LinksOptions;
  readonly #control: OwnedControl;
  readonly #links = new Map<string, ActorRef<LinkMessage>>();
  readonly #strangers = new Map<number, BulkInbox>();
  #bulkPort = 0;
  #streams = 0;

  constructor(options: LinksOptions) {
    this.#control = new OwnedControl(options.control);
    // Links dial through it as well, so that the sockets have one owner.
    this.#options = { ...options, control: this.#control };
  }

  start(context: Context): void {
    const { bulk, bulkListen, control, controlListen, onListening } = this.#options;
    const tellStream = context.listener<BulkStream>((stream) => ({ type: 'stream', stream }));
    const onStream = (stream: BulkStream): void => {
      if (tellStream(stream) !== 'accepted') stream.close();
    };
    const opened = bulk.listen(bulkListen, onStream, (refused) => this.#log('bulk', refused));
    if (!opened.ok) {
      context.effect(() => onListening(opened));
      context.stop(context.self);
      return;
    }
    this.#bulkPort = opened.value.port;
    const done = context.completion<ControlListener>((outcome) => ({ type: 'listening', outcome }));
    const tellChannel = context.listener<ControlChannel>((channel) => {
      return { type: 'channel', channel };
    });
    const onChannel = (channel: ControlChannel): void => {
      if (tellChannel(channel) !== 'accepted') channel.close();
    };
    const onRefused = (refused: RefusedConnections): void => this.#log('control', refused);
    context.effect(() => control.listen(controlListen, onChannel, done, onRefused));
  }

  #log(listener: string, { count, error }: RefusedConnections): void {
    const { code, errno, message } = error;
    this.#options.log?.({ listener, count, code, errno }, `refused: ${message}`);
  }

  close(): void {
    this.#control.close();
    for (const inbox of this.#strangers.values()) inbox.stream.close();
    this.#options.bulk.close();
  }

  receive(message: TransportMessage, context: Context): void {
    switch (message.type) {
      case 'listening':
        this.#onListening(message.outcome, context);
        return;
      case 'channel': {
        const link = this.#links.get(message.channel.peer);
        const result = link?.tell({ type: 'accepted', channel: message.channel });
        if (result !== 'accepted') message.channel.close();
        return;
      }
      case 'stream':
        this.#meet(message.stream, context);
        return;
      case 'streamEvent':
        this.#introduce(message.number, message.event, context);
        return;
      case 'joinTimeout':
        this.#strangers.get(message.number)?.stream.close();
        this.#strangers.delete(message.number);
        return;
    }
  }

  #onListening(outcome: Outcome<ControlListener>, context: Context): void {
    const { onListening, peers, random } = this.#options;
    if (!outcome.ok) {
      context.effect(() => onListening(outcome));
      context.stop(context.self);
      return;
    }
    const incarnation = random.bytes(INCARNATION_BYTES);
    for (const peer of peers) {
      const options = { links: this.#options, peer, incarnation, bulkPort: this.#bulkPort };
      this.#links.set(peer.id, context.spawn(linkActor(options)));
    }
    const ports = { controlPort: outcome.value.port, bulkPort: this.#bulkPort };
    context.effect(() => onListening({ ok: true, value: ports }));
  }

  #meet(stream: BulkStream, context: Context): void {
    if (this.#strangers.size >= MAX_STRANGERS) {
      stream.close();
      return;
    }
    this.#streams += 1;
    const number = this.#streams;
    const tell = context.listener<BulkStreamEvent>((event) => {
      return { type: 'streamEvent', number, event };
    });
    this.#strangers.set(number, new BulkInbox(stream, tell));
    const atUs = context.nowUs() + JOIN_TIMEOUT_US;
    context.setTimer(`join-${number}`, atUs, { type: 'joinTimeout', number });
  }

  /** The name that the stream gives is only a claim: that peer's link checks it. */
  #introduce(number: number, event: BulkStreamEvent, context: Context): void {
    const inbox = this.#strangers.get(number);
    if (inbox === undefined || event.type === 'challenge') return;
    this.#strangers.delete(number);
    context.cancelTimer(`join-${number}`);
    if (event.type === 'closed') {
      inbox.stream.close();
      return;
    }
    const { message, challenge } = event;
    const link = this.#links.get(claimedNode(message) ?? '');
    const result = link?.tell({ type: 'join', inbox, message, challenge });
    if (result !== 'accepted') inbox.stream.close();
  }
}
