import type { Clock, Timer } from '../ports/clock.ts';

/** `setTimeout` fires at once for anything longer. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/**
 * The kernel's CLOCK_MONOTONIC, which stands still while the host is suspended, and its wall clock. A lease
 * read is therefore not for hosts that sleep; who may run a VM is never read, only applied.
 */
export function systemClock(): Clock {
  const originNs = process.hrtime.bigint();
  const nowUs = (): number => Number((process.hrtime.bigint() - originNs) / 1000n);
  return {
    nowUs,
    wallMs: () => Date.now(),
    setTimer: (atUs, fire) => armTimer(nowUs, atUs, fire),
  };
}

function armTimer(nowUs: () => number, atUs: number, fire: () => void): Timer {
  let handle: NodeJS.Timeout;
  const arm = (): void => {
    const delayMs = Math.min(MAX_DELAY_MS, Math.max(0, Math.ceil((atUs - nowUs()) / 1000)));
    // Node rounds its loop time, so a timer may come up to a millisecond early: look again.
    handle = setTimeout(() => (nowUs() < atUs ? arm() : fire()), delayMs);
  };
  arm();
  return { cancel: () => clearTimeout(handle) };
}
