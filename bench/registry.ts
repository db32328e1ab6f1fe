import { actorsBench } from './actors.ts';
import { dirtyTrackingBench } from './dirty-tracking.ts';
import type { Bench } from './document.ts';
import { migrationBench } from './migration.ts';
import { simBench } from './sim.ts';
import { transportBench } from './transport.ts';

/** By the name that `dwcp bench NAME` takes. */
export const benches: ReadonlyMap<string, Bench> = new Map(
  [actorsBench, dirtyTrackingBench, migrationBench, simBench, transportBench].map((bench) => [
    bench.name,
    bench,
  ]),
);
