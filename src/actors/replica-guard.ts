/**
 * What only a liar says, as far as a replica's own past tells: an echo of a round that never began,
 * an entry acknowledged that is in no log, a second leader of a term. The core asserts these.
 */
import type { Message, Persist, Restored } from '../protocols/raft/types.ts';

export class ReplicaGuard {
  /** The last term in which this replica spoke as the leader; it is the only one of that term. */
  #ledTerm = 0;
  /** Newest round begun in it. */
  #round = 0;
  #lastIndex: number;

  constructor({ entries, snapshot }: Restored) {
    this.#lastIndex = Math.max(snapshot.index, entries.at(-1)?.index ?? 0);
  }

  wrote({ entries, snapshot }: Persist): void {
    const last = entries.at(-1)?.index ?? snapshot?.index;
    if (last !== undefined) this.#lastIndex = last;
  }

  sent(message: Message): void {
    if (!isFromLeader(message)) return;
    if (message.term > this.#ledTerm) {
      this.#ledTerm = message.term;
      this.#round = 0;
    }
    this.#round = Math.max(this.#round, message.round);
  }

  /** Null when it may be true. */
  lieIn(message: Message): string | null {
    if (message.term !== this.#ledTerm) return null;
    if (isFromLeader(message)) return `a second leader in term ${message.term}`;
    switch (message.type) {
      case 'heartbeatReply':
        return this.#lieInEcho(message.round, 0);
      case 'appendReply':
        return this.#lieInEcho(message.round, message.matchIndex ?? 0);
      case 'snapshotReply':
        return this.#lieInEcho(message.round, message.installed ? message.index : 0);
      default:
        return null;
    }
  }

  #lieInEcho(round: number, heldIndex: number): string | null {
    if (round > this.#round) return `an echo of round ${round}, which never began`;
    if (heldIndex > this.#lastIndex) return `entry ${heldIndex}, which is in no log`;
    return null;
  }
}

type FromLeader = Extract<
  Message,
  { readonly type: 'appendRequest' | 'heartbeat' | 'snapshotOffer' | 'snapshotChunk' }
>;

function isFromLeader(message: Message): message is FromLeader {
  const { type } = message;
  return (
    type === 'appendRequest' ||
    type === 'heartbeat' ||
    type === 'snapshotOffer' ||
    type === 'snapshotChunk'
  );
}
