/**
 * Who sealed a frame, under which key and nonce: all that a simulation knows of AES-GCM. Who does not have the key can
 * neither read nor make a seal, and a frame that was touched no longer fits its own. See `native/crypto/`.
 */
import type { BulkKeys } from '../../../src/ports/transport.ts';

export interface Seal {
  readonly secret: string;
  /** Of the key, within its session and direction. */
  readonly generation: number;
  readonly lane: number;
  readonly counter: number;
}

/** What a checker sees of every encryption and of every chunk that leaves. */
export interface SealObserver {
  /** `by` is who seals: one direction of one session in one life of an agent. */
  sealed(by: string, seal: Seal, tag: number | null): void;
  sent(seal: Seal, tag: number): void;
}

/** What a sealed frame is longer by: nonce and tag. */
export const SEAL_BYTES = 28;
const CHUNK_LANES = 2;
const SMALL_LANE = CHUNK_LANES;
/** Small, so that keys follow each other and windows move on; more than a window of a link. */
const BYTES_PER_KEY = 512 * 1024;
const CHUNK_WINDOW = 64;
/** Acknowledgements are many, and those of a slow stream come late. */
const SMALL_WINDOW = 4_096;
const KEYS_KEPT = 3;

export class SimLinkKeys {
  readonly bits: 128 | 256;
  readonly sealer: SimSealer;
  readonly opener: SimOpener;

  constructor(by: string, keys: BulkKeys, observer: SealObserver | null) {
    this.bits = keys.keyBits;
    this.sealer = new SimSealer(by, hexOf(keys.sendSecret), observer);
    this.opener = new SimOpener(hexOf(keys.receiveSecret));
  }
}

export class SimSealer {
  readonly #by: string;
  readonly #secret: string;
  readonly #observer: SealObserver | null;
  #generation = 0;
  #bytes = 0;
  #turn = 0;
  readonly #counters = new Array<number>(CHUNK_LANES + 1).fill(0);

  constructor(by: string, secret: string, observer: SealObserver | null) {
    this.#by = by;
    this.#secret = secret;
    this.#observer = observer;
  }

  sealChunk(seq: number, bytes: number, tag: number): Seal {
    this.#turn = (this.#turn + 1) % CHUNK_LANES;
    return this.#seal(this.#turn, this.drawn(this.#turn, seq), bytes, tag);
  }

  sealSmall(bytes: number): Seal {
    return this.#seal(SMALL_LANE, this.drawn(SMALL_LANE, 0), bytes, null);
  }

  /** The counter of an encryption is its own, whatever is sealed. */
  drawn(lane: number, _seq: number): number {
    const counter = (this.#counters[lane] as number) + 1;
    this.#counters[lane] = counter;
    return counter;
  }

  /** A later key is in use, or the receiver is about to forget this nonce. */
  isStale({ generation, lane, counter }: Seal): boolean {
    const behind = (this.#counters[lane] as number) - counter;
    return generation !== this.#generation || behind >= CHUNK_WINDOW / 2;
  }

  get generation(): number {
    return this.#generation;
  }

  #seal(lane: number, counter: number, bytes: number, tag: number | null): Seal {
    if (this.#bytes > 0 && this.#bytes + bytes > BYTES_PER_KEY) {
      this.#generation += 1;
      this.#bytes = 0;
    }
    this.#bytes += bytes;
    const seal = { secret: this.#secret, generation: this.#generation, lane, counter };
    this.#observer?.sealed(this.#by, seal, tag);
    return seal;
  }
}

export class SimOpener {
  readonly #secret: string;
  /** The generation after the highest that a frame came in. */
  #newest = 1;
  readonly #windows = new Map<number, ReplayWindow>();

  constructor(secret: string) {
    this.#secret = secret;
  }

  opens({ secret, generation }: Seal): boolean {
    if (secret !== this.#secret) return false;
    if (generation > this.#newest || generation + KEYS_KEPT <= this.#newest) return false;
    if (generation === this.#newest) {
      this.#newest += 1;
      for (const key of this.#windows.keys()) {
        if (Math.floor(key / 8) + KEYS_KEPT <= this.#newest) this.#windows.delete(key);
      }
    }
    return true;
  }

  /** Of a frame that was opened: true the first time only. */
  mark({ generation, lane, counter }: Seal): boolean {
    const key = generation * 8 + lane;
    let window = this.#windows.get(key);
    if (window === undefined) {
      window = new ReplayWindow(lane === SMALL_LANE ? SMALL_WINDOW : CHUNK_WINDOW);
      this.#windows.set(key, window);
    }
    return window.mark(counter);
  }
}

/** Which counters of a lane were seen. What lies behind the window counts as seen. */
class ReplayWindow {
  readonly #size: number;
  readonly #seen: Set<number> = new Set();
  #highest = 0;

  constructor(size: number) {
    this.#size = size;
  }

  mark(counter: number): boolean {
    if (counter + this.#size <= this.#highest || this.#seen.has(counter)) return false;
    this.#seen.add(counter);
    this.#highest = Math.max(this.#highest, counter);
    if (this.#seen.size > 2 * this.#size) {
      for (const old of this.#seen) {
        if (old + this.#size <= this.#highest) this.#seen.delete(old);
      }
    }
    return true;
  }
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
