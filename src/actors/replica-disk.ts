/**
 * The order between a core and its disk: writes go out in the order in which the core asked for
 * them, come back in it, and a message leaves only when the write that it rests on is durable.
 */
import type { RaftLog, RaftWrite } from '../ports/raft-log.ts';
import type { Message, Send } from '../protocols/raft/types.ts';
import { assert } from '../util/assert.ts';
import type { Completion } from '../util/errors.ts';

export class ReplicaDisk {
  readonly #log: RaftLog;
  readonly #transmit: (message: Message) => void;
  /** Ascending tokens, as the core gave them out. */
  #held: Send[] = [];
  #asked = 0;
  #completed = 0;
  #askedToken = 0;
  #durableToken = 0;

  constructor(log: RaftLog, transmit: (message: Message) => void) {
    this.#log = log;
    this.#transmit = transmit;
  }

  /** `completion` gets the write's place in the queue, for `completed`. */
  write(write: RaftWrite, completion: (ordinal: number) => Completion<void>): void {
    if ('token' in write) {
      assert(write.token === this.#askedToken + 1, `write ${write.token} is the next one`);
      this.#askedToken = write.token;
    }
    this.#asked += 1;
    this.#log.write(write, completion(this.#asked));
  }

  /** The token that is durable now, or null for a write that has none. */
  completed(write: RaftWrite, ordinal: number): number | null {
    assert(ordinal === this.#completed + 1, `write ${ordinal} completes in its turn`);
    this.#completed = ordinal;
    if (!('token' in write)) return null;
    this.#durableToken = write.token;
    this.#release();
    return write.token;
  }

  send(send: Send): void {
    if (send.after === null || send.after <= this.#durableToken) this.#transmit(send.message);
    else {
      assert(send.after <= this.#askedToken, 'a message rests on a write that was asked for');
      this.#held.push(send);
    }
  }

  #release(): void {
    const held = this.#held;
    if (held.length === 0) return;
    this.#held = [];
    for (const send of held) this.send(send);
  }
}
