/** Calls a peer, and calls again, later each time, until it answers. */
import type { RandomStream } from '../ports/random.ts';
import type { ControlChannel } from '../ports/transport.ts';
import { backoffUs } from './backoff.ts';
import type { LinkContext } from './link-messages.ts';
import type { LinksOptions, PeerOptions } from './spawn-links.ts';

export class LinkDialler {
  readonly #links: LinksOptions;
  readonly #peer: PeerOptions;
  readonly #random: RandomStream;
  #isDialling = false;
  #failures = 0;

  constructor(links: LinksOptions, peer: PeerOptions) {
    this.#links = links;
    this.#peer = peer;
    this.#random = links.random.stream(`link-${peer.id}`);
  }

  dial(context: LinkContext): void {
    if (this.#isDialling) return;
    this.#isDialling = true;
    const done = context.completion<ControlChannel>((outcome) => ({ type: 'dialled', outcome }));
    const { address, id } = this.#peer;
    context.effect(() => this.#links.control.dial(address, id, done));
  }

  answered(): void {
    this.#isDialling = false;
  }

  /** The link came up: the next loss is dialled at once again. */
  succeeded(): void {
    this.#failures = 0;
  }

  later(context: LinkContext): void {
    const atUs = context.nowUs() + backoffUs(this.#failures, this.#random);
    this.#failures += 1;
    context.setTimer('dial', atUs, { type: 'dial' });
  }
}
