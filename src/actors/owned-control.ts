import type {
  ControlChannel,
  ControlEvent,
  ControlListener,
  ControlTransport,
  HostPort,
  RefusedConnections,
} from '../ports/transport.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';

/**
 * Knows every channel and listener that was opened through it, so that stopping leaves none behind:
 * a channel may be in a completion or in the queue of an actor that has just ended.
 */
export class OwnedControl implements ControlTransport {
  readonly #inner: ControlTransport;
  readonly #open = new Set<{ close(): void }>();
  #closed = false;

  constructor(inner: ControlTransport) {
    this.#inner = inner;
  }

  listen(
    address: HostPort,
    onChannel: (channel: ControlChannel) => void,
    done: Completion<ControlListener>,
    onRefused?: (refused: RefusedConnections) => void,
  ): void {
    const accept = (channel: ControlChannel): void => {
      if (this.#closed) channel.close();
      else onChannel(this.#own(channel));
    };
    const opened = (outcome: Outcome<ControlListener>): void => {
      if (outcome.ok && this.#closed) {
        outcome.value.close();
        done(failed(stopped()));
        return;
      }
      if (outcome.ok) this.#open.add(outcome.value);
      done(outcome);
    };
    this.#inner.listen(address, accept, opened, onRefused);
  }

  dial(address: HostPort, expectedPeer: string, done: Completion<ControlChannel>): void {
    this.#inner.dial(address, expectedPeer, (outcome) => {
      if (!outcome.ok) {
        done(outcome);
      } else if (this.#closed) {
        outcome.value.close();
        done(failed(stopped()));
      } else {
        done(succeeded(this.#own(outcome.value)));
      }
    });
  }

  /** What opens later is closed at once. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const one of [...this.#open]) one.close();
    this.#open.clear();
  }

  #own(channel: ControlChannel): ControlChannel {
    const owned = new OwnedChannel(channel, () => this.#open.delete(owned));
    this.#open.add(owned);
    return owned;
  }
}

class OwnedChannel implements ControlChannel {
  readonly peer: string;
  readonly secret: Uint8Array;
  readonly #inner: ControlChannel;
  readonly #forget: () => void;

  constructor(inner: ControlChannel, forget: () => void) {
    this.peer = inner.peer;
    this.secret = inner.secret;
    this.#inner = inner;
    this.#forget = forget;
  }

  subscribe(listener: (event: ControlEvent) => void): void {
    this.#inner.subscribe((event) => {
      if (event.type === 'closed') this.#forget();
      listener(event);
    });
  }

  send(frame: Uint8Array): 'accepted' | 'full' | 'closed' {
    return this.#inner.send(frame);
  }

  close(): void {
    this.#forget();
    this.#inner.close();
  }
}

function stopped(): DwcpError {
  return new DwcpError('ERR_DWCP_CLOSED', 'this node was stopped');
}
