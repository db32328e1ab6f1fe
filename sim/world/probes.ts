import type { Decisions } from './decisions.ts';
import type { FaultPlan } from './fault-plan.ts';

/**
 * What a campaign must have seen (`sometimes`) and where rare paths are made common (`buggify`): a site
 * is on for a whole run or off, as in FoundationDB, so that runs differ in kind and not only in luck.
 */
export class Probes {
  readonly #counts = new Map<string, number>();
  readonly #fired = new Map<string, number>();
  readonly #sites = new Map<string, boolean>();
  readonly #decisions: Decisions;
  readonly #buggify: FaultPlan['buggify'];

  constructor(decisions: Decisions, buggify: FaultPlan['buggify']) {
    this.#decisions = decisions;
    this.#buggify = buggify;
  }

  /** `hit` false only makes the label known, so that a campaign can miss it. */
  sometimes(label: string, hit: boolean): void {
    this.#counts.set(label, (this.#counts.get(label) ?? 0) + (hit ? 1 : 0));
  }

  buggify(label: string): boolean {
    const { sitePermyriad, firePermyriad, disabled } = this.#buggify;
    let on = this.#sites.get(label);
    if (on === undefined) {
      const drawn = this.#decisions.stream(`buggify/${label}/site`).chance(sitePermyriad);
      on = drawn && !disabled.includes(label);
      this.#sites.set(label, on);
    }
    if (!on || !this.#decisions.stream(`buggify/${label}`).chance(firePermyriad)) return false;
    this.#fired.set(label, (this.#fired.get(label) ?? 0) + 1);
    return true;
  }

  counts(): Record<string, number> {
    return sorted(this.#counts);
  }

  fired(): Record<string, number> {
    return sorted(this.#fired);
  }
}

function sorted(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}
