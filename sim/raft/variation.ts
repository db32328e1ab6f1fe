/** What differs from seed to seed at depth `raft` beside the faults: sizes, speeds, and what is asked. */
import type { RaftLimits, RaftTiming, ReadGuarantee } from '../../src/protocols/raft/types.ts';
import type { KvInput } from '../checkers/models.ts';
import type { Workload } from '../world/clients.ts';
import type { LabelledStream } from '../world/decisions.ts';
import type { Variation } from '../world/scenario.ts';

/** What clients ask for, and how. */
export interface Traffic {
  readonly keys: number;
  readonly readPermyriad: number;
  /** Of reads: the rest are commands of the log. */
  readonly leasePermyriad: number;
  readonly linearizablePermyriad: number;
}

/** Somebody who hands over leadership and changes the membership all the time. */
export interface Operator {
  /** Between two acts, about. */
  readonly everyUs: number;
  /** How often one waits for a new leader, and asks it before it has done anything. */
  readonly waitingPermyriad: number;
}

const OPERATORS: readonly Operator[] = [
  { everyUs: 2_000_000, waitingPermyriad: 2_500 },
  { everyUs: 2_000_000, waitingPermyriad: 2_500 },
  { everyUs: 400_000, waitingPermyriad: 9_000 },
];

export interface RaftVariation {
  readonly timing: Partial<RaftTiming>;
  readonly limits: Partial<RaftLimits>;
  readonly operator: Operator;
  readonly traffic: Traffic;
}

/** As long as a client of the scenario asks again. */
export const GIVE_UP_US = 1_500_000;
/** Worse than any clock, so that a lease that ignores it is wrong for long enough to be noticed. */
export const DRIFT_MAX_PPM = 200_000;
/** What an operation takes while things break, about. */
const LATENCY_US = 40_000;
const CHAOS_US = 60_000_000;

/** Five are the rule; four have a majority with a spare, and three the fewest that survive anything. */
export function drawShape(random: LabelledStream): Variation {
  return { hosts: oneOf(random, [3, 4, 5, 5, 5, 5, 5, 7]), workload: drawWorkload(random) };
}

/** Over most of the chaos, or in its first third so that the rest is quiet. */
function drawWorkload(random: LabelledStream): Partial<Workload> {
  const clients = random.between(3, 8);
  const operations = random.between(1_000, 2_500);
  const overUs = oneOf(random, [CHAOS_US, CHAOS_US, CHAOS_US / 3]);
  const perCallUs = (overUs * clients) / operations;
  // Half of all thinking is short, the other half takes half of the maximum.
  const thinkMaxUs = Math.max(10_000, Math.round(4 * (perCallUs - LATENCY_US)));
  return { clients, operations, thinkMinUs: 1_000, thinkMaxUs, timeoutUs: GIVE_UP_US };
}

export function drawVariation(random: LabelledStream): RaftVariation {
  const electionUs = oneOf(random, [150_000, 150_000, 600_000, 60_000]);
  const messageBytes = oneOf(random, [256, 512, 2_048]);
  return {
    timing: { electionUs, heartbeatUs: oneOf(random, [electionUs / 3, electionUs / 5]) },
    // Small, so that a minute meets every bound: windows, compaction, snapshots in chunks.
    limits: {
      messageBytes,
      inflightMessages: oneOf(random, [2, 8]),
      inflightBytes: messageBytes * 4,
      waitingReads: 64,
      snapshotChunkBytes: oneOf(random, [64, 256, 256, 1_024]),
      snapshotEveryEntries: oneOf(random, [8, 32, 64, 256]),
      keptTailEntries: oneOf(random, [0, 4, 16]),
    },
    operator: oneOf(random, OPERATORS),
    traffic: {
      keys: random.between(1, 8),
      readPermyriad: oneOf(random, [2_000, 5_000, 8_000]),
      leasePermyriad: oneOf(random, [0, 3_333, 8_000]),
      linearizablePermyriad: oneOf(random, [0, 3_333, 10_000]),
    },
  };
}

export function nextInput(random: LabelledStream, serial: number, traffic: Traffic): KvInput {
  const key = `k${random.below(traffic.keys)}`;
  return random.chance(traffic.readPermyriad)
    ? { op: 'get', key }
    : { op: 'put', key, value: serial };
}

/** Null: a command of the log, as all writes are. */
export function drawGuarantee(
  random: LabelledStream,
  input: KvInput,
  traffic: Traffic,
): ReadGuarantee | null {
  if (input.op !== 'get') return null;
  if (random.chance(traffic.leasePermyriad)) return { kind: 'lease', maxDriftPpm: DRIFT_MAX_PPM };
  return random.chance(traffic.linearizablePermyriad) ? { kind: 'linearizable' } : null;
}

function oneOf<T>(random: LabelledStream, values: readonly T[]): T {
  return values[random.below(values.length)] as T;
}
