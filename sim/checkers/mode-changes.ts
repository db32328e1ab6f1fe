/** However a way flaps, the side that leads a link changes its mode no more often than its rules allow. */
import type { ModeLimits } from '../../src/protocols/link/mode-governor.ts';
import type { Finding } from '../world/violation.ts';

interface Changes {
  number: number;
  /** By the clock of the host that decided. */
  atUs: number[];
}

const MINUTE_US = 60_000_000;

export class ModeChanges {
  readonly #limits: ModeLimits;
  readonly #links = new Map<string, Changes>();
  #finding: Finding | null = null;

  constructor(limits: ModeLimits) {
    this.#limits = limits;
  }

  /** A change that nobody forced, on the side that decided. The same one may be told again. */
  changed(host: string, peer: string, number: number, nowUs: number): void {
    const link = `${host} to ${peer}`;
    const known = this.#links.get(link) ?? { number: 0, atUs: [] };
    if (number <= known.number) return;
    const before = known.atUs.at(-1);
    known.number = number;
    known.atUs = [...known.atUs.filter((at) => nowUs - at < MINUTE_US), nowUs];
    this.#links.set(link, known);
    const { minStayMs, maxPerMinute } = this.#limits;
    if (before !== undefined && nowUs - before < minStayMs * 1000) {
      this.#found(`${link} changed its mode after ${nowUs - before} us`);
    }
    if (known.atUs.length > maxPerMinute) {
      this.#found(`${link} changed its mode ${known.atUs.length} times in a minute`);
    }
  }

  /** An agent that starts anew knows nothing of the changes before. */
  restarted(host: string): void {
    for (const link of this.#links.keys()) {
      if (link.startsWith(`${host} to `)) this.#links.delete(link);
    }
  }

  look(): Finding | null {
    return this.#finding;
  }

  #found(message: string): void {
    this.#finding ??= { message };
  }
}
