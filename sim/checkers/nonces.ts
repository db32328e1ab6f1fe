/**
 * No key meets a nonce twice, over the whole run, whatever crashed, restarted or connected again; each key seals for
 * one direction of one session; and what goes out again under its nonce is what was sealed under it.
 */
import type { Seal, SealObserver } from '../transport/bulk/seal.ts';
import type { Finding } from '../world/violation.ts';

/** What a key sealed, by nonce. Small frames leave once, so only that they were sealed counts. */
interface Key {
  readonly by: string;
  readonly sealed: Map<number, number | null>;
}

const LANES_MAX = 8;

export class Nonces implements SealObserver {
  readonly #keys = new Map<string, Map<number, Key>>();
  #finding: Finding | null = null;

  sealed(by: string, seal: Seal, tag: number | null): void {
    const { generation, lane, counter } = seal;
    const key = this.#keyOf(by, seal);
    const nonce = counter * LANES_MAX + lane;
    if (key.by !== by) this.#found(`${by} seals with the key of ${key.by}`);
    if (key.sealed.has(nonce)) {
      this.#found(`${by} seals twice as ${lane}/${counter} under its key ${generation}`);
    }
    key.sealed.set(nonce, tag);
  }

  sent(seal: Seal, tag: number): void {
    const { generation, lane, counter } = seal;
    const key = this.#keyOf('nobody', seal);
    if (key.sealed.get(counter * LANES_MAX + lane) === tag) return;
    const what = `${lane}/${counter} under key ${generation}`;
    this.#found(`${key.by} sent as ${what} another chunk than it sealed so`);
  }

  look(): Finding | null {
    return this.#finding;
  }

  #keyOf(by: string, { secret, generation }: Seal): Key {
    let generations = this.#keys.get(secret);
    if (generations === undefined) {
      generations = new Map();
      this.#keys.set(secret, generations);
    }
    let key = generations.get(generation);
    if (key === undefined) {
      key = { by, sealed: new Map() };
      generations.set(generation, key);
    }
    return key;
  }

  #found(message: string): void {
    this.#finding ??= { message };
  }
}
