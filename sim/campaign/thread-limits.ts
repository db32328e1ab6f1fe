import type { ResourceLimits } from 'node:worker_threads';

/**
 * Nearly everything that an event makes is garbage by the next one. The larger the space for new objects,
 * the seldomer it is swept, and a sweep costs by what survived it.
 */
export const SIMULATION_THREAD_LIMITS: ResourceLimits = { maxYoungGenerationSizeMb: 192 };
