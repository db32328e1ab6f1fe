import type { Clock, Timer } from '../../src/ports/clock.ts';

/** Time that moves only when a test says so. */
export class ManualClock implements Clock {
  #nowUs = 0;
  #timers: { readonly atUs: number; readonly fire: () => void }[] = [];

  nowUs(): number {
    return this.#nowUs;
  }

  wallMs(): number {
    return Math.floor(this.#nowUs / 1000);
  }

  setTimer(atUs: number, fire: () => void): Timer {
    const armed = { atUs, fire };
    this.#timers.push(armed);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== armed);
      },
    };
  }

  get armed(): number {
    return this.#timers.length;
  }

  /** Fires what is due, earliest first. */
  advance(byUs: number): void {
    const untilUs = this.#nowUs + byUs;
    for (;;) {
      const due = this.#timers
        .filter((timer) => timer.atUs <= untilUs)
        .sort((a, b) => a.atUs - b.atUs)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== due);
      this.#nowUs = Math.max(this.#nowUs, due.atUs);
      due.fire();
    }
    this.#nowUs = untilUs;
  }
}
