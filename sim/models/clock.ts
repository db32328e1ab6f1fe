import type { Clock, Timer } from '../../src/ports/clock.ts';
import type { SimEvent } from '../world/event-queue.ts';
import type { SimHost } from '../world/host.ts';

/** Where simulated calendars begin, so that a wall-clock time is never mistaken for a monotonic one. */
const WALL_EPOCH_MS = 1_700_000_000_000;
const PPM = 1_000_000;

/**
 * One host's clocks. The monotonic one drifts and never jumps; the wall clock follows it and jumps too.
 * Timers are armed on the monotonic clock, as the kernel's are, and fire at or after their time.
 */
export class HostClock implements Clock {
  readonly #host: SimHost;
  readonly #bootUs: number;
  #worldBaseUs: number;
  #localBaseUs = 0;
  #driftPpm: number;
  #wallOffsetUs: number;
  #armed = 0;

  constructor(host: SimHost, driftPpm: number = 0, wallOffsetUs: number = 0) {
    this.#host = host;
    this.#bootUs = host.world.nowUs;
    this.#worldBaseUs = this.#bootUs;
    this.#driftPpm = driftPpm;
    this.#wallOffsetUs = wallOffsetUs;
  }

  /** A reboot starts the monotonic clock anew; the wall clock's battery kept its error. */
  restarted(host: SimHost): HostClock {
    return new HostClock(host, this.#driftPpm, this.#wallOffsetUs + this.nowUs() - this.#aliveUs());
  }

  nowUs(): number {
    const elapsedUs = this.#host.world.nowUs - this.#worldBaseUs;
    if (this.#driftPpm === 0) return this.#localBaseUs + elapsedUs;
    return this.#localBaseUs + Math.floor((elapsedUs * (PPM + this.#driftPpm)) / PPM);
  }

  wallMs(): number {
    const us = this.#bootUs + this.nowUs() + this.#wallOffsetUs;
    return WALL_EPOCH_MS + Math.floor(us / 1_000);
  }

  setTimer(atUs: number, fire: () => void): Timer {
    this.#armed += 1;
    const timer = new HostTimer(this, atUs, fire);
    this.#arm(timer);
    return timer;
  }

  #arm(timer: HostTimer): void {
    const waitUs = Math.max(0, timer.atUs - this.nowUs());
    const worldUs = Math.ceil((waitUs * PPM) / (PPM + this.#driftPpm));
    timer.event = this.#host.after(worldUs, 'timer', this.#fired, null, timer);
  }

  readonly #fired = ({ context }: SimEvent): void => {
    const timer = context as HostTimer;
    if (timer.over) return;
    // The clock may have been slowed down meanwhile.
    if (this.nowUs() < timer.atUs) return this.#arm(timer);
    this.ended(timer);
    timer.fire();
  };

  /** By a timer of this clock: it fired, or was cancelled. */
  ended(timer: HostTimer): void {
    if (!timer.over) this.#armed -= 1;
    timer.over = true;
  }

  /** Timers that have yet to fire. */
  get armed(): number {
    return this.#armed;
  }

  /** From now on; what passed so far stays as it was. */
  setDrift(driftPpm: number): void {
    this.#localBaseUs = this.nowUs();
    this.#worldBaseUs = this.#host.world.nowUs;
    this.#driftPpm = driftPpm;
  }

  jumpWall(byUs: number): void {
    this.#wallOffsetUs += byUs;
  }

  #aliveUs(): number {
    return this.#host.world.nowUs - this.#bootUs;
  }
}

class HostTimer implements Timer {
  readonly atUs: number;
  readonly fire: () => void;
  event: SimEvent | null = null;
  over = false;
  readonly #clock: HostClock;

  constructor(clock: HostClock, atUs: number, fire: () => void) {
    this.#clock = clock;
    this.atUs = atUs;
    this.fire = fire;
  }

  cancel(): void {
    this.#clock.ended(this);
    if (this.event !== null) this.event.cancelled = true;
  }
}
