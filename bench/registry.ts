import { actorsBench } from './actors.ts';
import { dirtyTrackingBench } from './dirty-tracking.ts';
import type { Bench } from './document.ts';
import { encodingBench } from './encoding.ts';
import { failoverBench } from './failover.ts';
import { labBench } from './lab/ceiling.ts';
import { migrationBench } from './migration.ts';
import { modeSwitchBench } from './mode-switch.ts';
import { raftBench } from './raft.ts';
import { rdmaBench } from './rdma.ts';
import { readsBench } from './reads.ts';
import { resumeBench } from './resume.ts';
import { simBench } from './sim.ts';
import { transportBench } from './transport.ts';
import { wanMigrationBench } from './wan-migration.ts';

/** By the name that `dwcp bench NAME` takes. */
export const benches: ReadonlyMap<string, Bench> = new Map(
  [
    actorsBench,
    dirtyTrackingBench,
    encodingBench,
    failoverBench,
    labBench,
    migrationBench,
    modeSwitchBench,
    raftBench,
    rdmaBench,
    readsBench,
    resumeBench,
    simBench,
    transportBench,
    wanMigrationBench,
  ].map((bench) => [bench.name, bench]),
);
