/** A benchmark that is told to end leaves no process, guest, network namespace or file behind. */

type CleanUp = () => Promise<void> | void;

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
const EXIT_INTERRUPTED = 130;
const cleanUps: CleanUp[] = [];
let isEnding = false;

/** `cleanUp` runs once: after `work`, whatever it ended with, or when a signal comes before that. */
export async function cleanedUp<T>(cleanUp: CleanUp, work: () => Promise<T>): Promise<T> {
  if (cleanUps.length === 0) for (const signal of SIGNALS) process.on(signal, interrupted);
  cleanUps.push(cleanUp);
  try {
    return await work();
  } finally {
    const at = cleanUps.indexOf(cleanUp);
    if (at >= 0) {
      cleanUps.splice(at, 1);
      await cleanUp();
    }
    if (cleanUps.length === 0) for (const signal of SIGNALS) process.off(signal, interrupted);
  }
}

/**
 * The latest first: what was made last may stand on what was made before. Whoever ends a group of processes, as
 * timeout(1) does, says so twice to this one: the second time must not cut the first short.
 */
async function interrupted(): Promise<void> {
  if (isEnding) return;
  isEnding = true;
  for (const cleanUp of cleanUps.splice(0).reverse()) {
    try {
      await cleanUp();
    } catch (error) {
      console.error(error);
    }
  }
  process.exit(EXIT_INTERRUPTED);
}
