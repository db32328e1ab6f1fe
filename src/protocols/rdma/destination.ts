/** The side into whose memory a foreign card writes; see `types.ts` for the rules. */
import { assert } from '../../util/assert.ts';
import type { DestinationEffect, DestinationInput, PathId } from './types.ts';

interface End {
  readonly id: PathId;
  /** `failing`: moved to ERROR, its work is being flushed. */
  state: 'up' | 'failing' | 'drained' | 'destroyed';
}

export class RdmaDestination {
  /** Nothing can write into the region but its guest. */
  isRevoked = false;
  readonly #ends = new Map<PathId, End>();
  #revoking: 'no' | 'destroying' | 'invalidating' | 'done' = 'no';

  step(input: DestinationInput): DestinationEffect[] {
    const effects: DestinationEffect[] = [];
    switch (input.type) {
      case 'open':
        this.#open(input, effects);
        break;
      case 'rung':
        this.#rung(input, effects);
        break;
      case 'frame':
        this.#frame(input, effects);
        break;
      case 'askedToDrain':
        this.askedToDrain(input.path, effects);
        break;
      case 'broken':
        this.#fail(input.path, effects);
        break;
      case 'flushed':
        this.#flushed(input.path, effects);
        break;
      case 'revoke':
        this.revoke(effects);
        break;
      case 'destroyed':
        this.#destroyed(input.path);
        break;
      case 'keysInvalid':
        assert(this.#revoking === 'invalidating', 'keys become invalid when that was asked for');
        this.#revoking = 'done';
        this.isRevoked = true;
        effects.push({ type: 'armTracker' }, { type: 'revoked' });
        break;
    }
    this.#settle(effects);
    return effects;
  }

  #open({ path, receives }: DestinationInput & { type: 'open' }, effects: DestinationEffect[]) {
    assert(!this.#ends.has(path), 'a number names one path of a session');
    assert(this.#revoking === 'no', 'nothing is opened once nothing may be written');
    this.#ends.set(path, { id: path, state: 'up' });
    for (let count = 0; count < receives; count += 1) effects.push({ type: 'postReceive', path });
  }

  /** Its pages came before it on the same queue pair. */
  #rung({ path, seq }: DestinationInput & { type: 'rung' }, effects: DestinationEffect[]): void {
    const end = this.#ends.get(path);
    if (end === undefined || end.state === 'destroyed' || end.state === 'drained') return;
    // Also while it fails: what landed is told before it is said to be drained.
    effects.push({ type: 'tellLanded', seq });
    if (end.state === 'up') effects.push({ type: 'postReceive', path });
  }

  #frame({ seq, pages }: DestinationInput & { type: 'frame' }, effects: DestinationEffect[]): void {
    if (this.#revoking !== 'no') return;
    effects.push({ type: 'land', seq, pages }, { type: 'tellLanded', seq });
  }

  askedToDrain(path: PathId, effects: DestinationEffect[]): void {
    const end = this.#ends.get(path);
    if (end === undefined) return;
    if (end.state === 'up') this.#fail(path, effects);
  }

  #fail(path: PathId, effects: DestinationEffect[]): void {
    const end = this.#ends.get(path);
    if (end === undefined || end.state !== 'up') return;
    end.state = 'failing';
    effects.push({ type: 'toError', path });
  }

  #flushed(path: PathId, effects: DestinationEffect[]): void {
    const end = this.#ends.get(path);
    if (end === undefined || end.state !== 'failing') return;
    end.state = 'drained';
    effects.push({ type: 'tellDrained', path }, { type: 'destroy', path });
  }

  /** Whatever is on the wire for a queue pair that is gone, or under a key that is none, is not written. */
  revoke(effects: DestinationEffect[]): void {
    if (this.#revoking !== 'no') return;
    this.#revoking = 'destroying';
    for (const end of this.#ends.values()) {
      if (end.state === 'up') effects.push({ type: 'toError', path: end.id });
      if (end.state === 'up' || end.state === 'failing') {
        end.state = 'drained';
        effects.push({ type: 'destroy', path: end.id });
      }
    }
  }

  #destroyed(path: PathId): void {
    const end = this.#ends.get(path);
    assert(end?.state === 'drained', 'a queue pair is destroyed when that was asked for');
    end.state = 'destroyed';
    this.#ends.delete(path);
  }

  #settle(effects: DestinationEffect[]): void {
    if (this.#revoking !== 'destroying' || this.#ends.size > 0) return;
    this.#revoking = 'invalidating';
    effects.push({ type: 'invalidateKeys' });
  }
}
