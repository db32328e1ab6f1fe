/**
 * Judges from beats alone whether one guest ever ran twice. Its instances, put in the order of where
 * their counting began, must each have ended before the next began: in count, because a count that
 * comes twice was counted by two copies of the guest, or memory went back; and in time, as far as the
 * beats are certain about it. An instance that began to count has the guest until it ends for good:
 * whatever moves or restarts is a new process. Bounded: what is kept is one span per instance.
 */
import { assert } from '../../src/util/assert.ts';
import type { Beat } from './beat.ts';

export interface Span {
  readonly instance: string;
  firstCount: number;
  lastCount: number;
  /** It surely counted already at this moment. */
  firstLatestNs: bigint;
  /** It surely still counted after this moment. */
  lastEarliestNs: bigint;
  lastLatestNs: bigint;
  beats: number;
}

export class Judge {
  readonly #spans = new Map<string, Span>();
  #violation: string | null = null;

  /** The first thing that must never be; null when all is well. */
  get violation(): string | null {
    return this.#violation;
  }

  hear(beat: Beat): void {
    assert(beat.earliestNs <= beat.latestNs, 'a beat is said between two moments, in order');
    const span = this.#spans.get(beat.instance);
    if (span === undefined) this.#spans.set(beat.instance, begin(beat));
    else this.#goOn(span, beat);
    const mine = this.#spans.get(beat.instance);
    if (mine === undefined) return;
    for (const other of this.#spans.values()) {
      if (other !== mine) this.#violation ??= overlap(mine, other);
    }
  }

  /** Those that surely counted after this moment. */
  runningSince(sinceNs: bigint): readonly string[] {
    return [...this.#spans.values()]
      .filter(({ lastEarliestNs }) => lastEarliestNs >= sinceNs)
      .map(({ instance }) => instance);
  }

  spans(): readonly Readonly<Span>[] {
    return [...this.#spans.values()];
  }

  #goOn(span: Span, { counter, earliestNs, latestNs }: Beat): void {
    if (counter <= span.lastCount) {
      this.#violation ??= `${span.instance} went back from ${span.lastCount} to ${counter}`;
    }
    span.lastCount = Math.max(span.lastCount, counter);
    span.lastEarliestNs = earliestNs;
    span.lastLatestNs = latestNs;
    span.beats += 1;
  }
}

function begin({ instance, counter, earliestNs, latestNs }: Beat): Span {
  return {
    instance,
    firstCount: counter,
    lastCount: counter,
    firstLatestNs: latestNs,
    lastEarliestNs: earliestNs,
    lastLatestNs: latestNs,
    beats: 1,
  };
}

function overlap(one: Span, other: Span): string | null {
  const [early, late] = one.firstCount <= other.firstCount ? [one, other] : [other, one];
  if (early.lastCount >= late.firstCount) {
    return `two instances counted ${late.firstCount}: ${describe(early)}, ${describe(late)}`;
  }
  if (early.lastEarliestNs > late.firstLatestNs) {
    return `two instances ran at once: ${describe(early)}, ${describe(late)}`;
  }
  return null;
}

export function describe(span: Readonly<Span>): string {
  const ms = (ns: bigint): string => (Number(ns / 1000n) / 1000).toFixed(1);
  return (
    `${span.instance} counted ${span.firstCount} to ${span.lastCount} ` +
    `from ${ms(span.firstLatestNs)} to ${ms(span.lastEarliestNs)} ms`
  );
}
