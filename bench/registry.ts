import { actorsBench } from './actors.ts';
import type { Bench } from './document.ts';
import { migrationBench } from './migration.ts';
import { transportBench } from './transport.ts';

/** By the name that `dwcp bench NAME` takes. */
export const benches: ReadonlyMap<string, Bench> = new Map(
  [actorsBench, migrationBench, transportBench].map((bench) => [bench.name, bench]),
);
