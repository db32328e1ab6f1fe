/** The thread that runs the simulations of `bench sim`: one run for each message. */
import '../sim/tripwires.ts';
import { parentPort } from 'node:worker_threads';
import type { KvInput } from '../sim/checkers/models.ts';
import { raftScenario } from '../sim/scenarios/raft.ts';
import { calmPlan } from '../sim/world/fault-plan.ts';
import type { Scenario } from '../sim/world/scenario.ts';
import { simulate } from '../sim/world/simulate.ts';
import { assert } from '../src/util/assert.ts';

export interface SimRunOptions {
  readonly proposalsPerSecond: number;
  readonly simulatedSeconds: number;
  readonly checkers: boolean;
}

export interface SimRunFigures {
  readonly eventsPerSecond: number;
  readonly simulatedOverReal: number;
}

/** Each client asks five times a second: what its think time leaves out is what an answer takes, about. */
const PER_CLIENT = 5;
const THINK_US = 1_000_000 / PER_CLIENT - 3_000;
const SECOND_US = 1_000_000;
/** As most seeds of a campaign have them: small, so that windows fill and snapshots are cut. */
const LIMITS = {
  ...{ messageBytes: 2_048, inflightMessages: 8, inflightBytes: 8_192, waitingReads: 64 },
  ...{ snapshotChunkBytes: 256, snapshotEveryEntries: 64, keptTailEntries: 16 },
};

function runOnce(options: SimRunOptions): SimRunFigures {
  const { proposalsPerSecond, simulatedSeconds, checkers } = options;
  const raft = raftScenario({
    ...{ checks: checkers, operator: null, limits: LIMITS },
    timing: { heartbeatUs: 50_000, electionUs: 150_000 },
  });
  const scenario: Scenario<KvInput> = {
    ...raft,
    clients: {
      ...raft.clients,
      next: (random, serial) => ({ op: 'put', key: `k${random.below(5)}`, value: serial }),
    },
    progressed: () => true,
  };
  const startedMs = performance.now();
  const { events, simulatedMs, violation, history } = simulate(scenario, {
    seed: 1,
    hosts: 5,
    plan: calmPlan,
    timing: { chaosUs: simulatedSeconds * SECOND_US },
    workload: {
      clients: proposalsPerSecond / PER_CLIENT,
      operations: proposalsPerSecond * simulatedSeconds,
      thinkMinUs: THINK_US,
      thinkMaxUs: THINK_US,
      timeoutUs: SECOND_US,
    },
  });
  const seconds = (performance.now() - startedMs) / 1_000;
  assert(violation === null, `a calm run is clean: ${violation?.message}`);
  assert(history.length >= proposalsPerSecond * simulatedSeconds, 'all was proposed');
  assert(
    history.every(({ returnUs }) => returnUs !== null),
    'all was answered',
  );
  const simulatedOverReal = simulatedMs / 1_000 / seconds;
  return { eventsPerSecond: events / seconds, simulatedOverReal };
}

parentPort?.on('message', (options: SimRunOptions) => parentPort?.postMessage(runOnce(options)));
