import { actorsBench } from './actors.ts';
import type { Bench } from './document.ts';
import { transportBench } from './transport.ts';

/** By the name that `dwcp bench NAME` takes. */
export const benches: ReadonlyMap<string, Bench> = new Map(
  [actorsBench, transportBench].map((bench) => [bench.name, bench]),
);
