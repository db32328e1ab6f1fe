/**
 * Which configuration holds where in the log. The newest one in the log counts, committed or not;
 * a truncated one gives way to the one before it.
 */
import { assert } from '../../util/assert.ts';
import type { Configuration, Entry, LogIndex } from './types.ts';

interface Since {
  readonly index: LogIndex;
  readonly configuration: Configuration;
}

export class ConfigurationHistory {
  /** Ascending, never empty; the first one is the snapshot's. */
  #history: Since[];

  constructor(index: LogIndex, configuration: Configuration) {
    this.#history = [{ index, configuration }];
  }

  get current(): Configuration {
    return this.#newest.configuration;
  }
  get currentIndex(): LogIndex {
    return this.#newest.index;
  }

  get #newest(): Since {
    const newest = this.#history.at(-1);
    assert(newest !== undefined, 'there is always a configuration');
    return newest;
  }

  /** True when one of the entries changed the configuration. */
  take(entries: readonly Entry[]): boolean {
    let changed = false;
    for (const entry of entries) {
      if (entry.kind !== 'configuration' || entry.index <= this.currentIndex) continue;
      this.#history.push({ index: entry.index, configuration: entry.configuration });
      changed = true;
    }
    return changed;
  }

  truncate(index: LogIndex): boolean {
    const before = this.#history.length;
    this.#history = this.#history.filter((since, at) => at === 0 || since.index < index);
    return this.#history.length < before;
  }

  at(index: LogIndex): Configuration {
    const since = this.#history.findLast((each) => each.index <= index);
    assert(since !== undefined, `the configuration at ${index} is known`);
    return since.configuration;
  }

  /** A snapshot took the place of the log. */
  reset(index: LogIndex, configuration: Configuration): void {
    this.#history = [{ index, configuration }];
  }

  /** Forgets what held only below `index`. */
  compact(index: LogIndex): void {
    const first = this.#history.findLastIndex((each) => each.index <= index);
    if (first > 0) this.#history = this.#history.slice(first);
  }
}
