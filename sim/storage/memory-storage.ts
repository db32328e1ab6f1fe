/** The Storage port in memory, for simulations: keeps its records when the host that used it crashes. */
import type { Storage, StoredRecord } from '../../src/ports/storage.ts';
import { type Completion, type Outcome, succeeded } from '../../src/util/errors.ts';

export class MemoryStorage implements Storage {
  readonly #records = new Map<string, Uint8Array>();
  readonly #defer: (run: () => void) => void;

  /** `defer` decides when an operation happens; what never runs was lost in a crash. */
  constructor(defer: (run: () => void) => void) {
    this.#defer = defer;
  }

  put(key: string, value: Uint8Array, done: Completion<void>): void {
    const copy = value.slice();
    this.#answer(done, () => {
      this.#records.set(key, copy);
      return succeeded(undefined);
    });
  }

  remove(key: string, done: Completion<void>): void {
    this.#answer(done, () => {
      this.#records.delete(key);
      return succeeded(undefined);
    });
  }

  list(prefix: string, done: Completion<readonly StoredRecord[]>): void {
    this.#answer(done, () =>
      succeeded(
        [...this.#records]
          .filter(([key]) => key.startsWith(prefix))
          .sort(([left], [right]) => (left < right ? -1 : 1))
          .map(([key, value]) => ({ key, value: value.slice() })),
      ),
    );
  }

  #answer<T>(done: Completion<T>, work: () => Outcome<T>): void {
    this.#defer(() => done(work()));
  }
}
