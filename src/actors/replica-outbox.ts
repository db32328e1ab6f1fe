/**
 * What a replica says, in order. That something is committed is told at the end of the turn, because
 * the next append, which often comes in the same turn, tells it too: then it need not be said twice.
 */
import type { AppendRequest, Message, ReplicaId } from '../protocols/raft/types.ts';

export class ReplicaOutbox {
  readonly #transmit: (message: Message) => void;
  /** Appends without entries, each the last word to its follower. */
  readonly #held = new Map<ReplicaId, AppendRequest>();

  constructor(transmit: (message: Message) => void) {
    this.#transmit = transmit;
  }

  /** Something waits for {@link release}. */
  get holds(): boolean {
    return this.#held.size > 0;
  }

  send(message: Message): void {
    const held = this.#held.get(message.to);
    if (held !== undefined) {
      this.#held.delete(message.to);
      if (!isSaidBy(message, held)) this.#transmit(held);
    }
    const isTelling = message.type === 'appendRequest' && message.entries.length === 0;
    if (isTelling) this.#held.set(message.to, message);
    else this.#transmit(message);
  }

  release(): void {
    for (const message of this.#held.values()) this.#transmit(message);
    this.#held.clear();
  }
}

/** An append further on in the same term asks for all that went before it, and tells as much. */
function isSaidBy(message: Message, held: AppendRequest): boolean {
  return (
    message.type === 'appendRequest' &&
    message.term === held.term &&
    message.previousIndex >= held.previousIndex &&
    message.commit >= held.commit &&
    message.round >= held.round
  );
}
