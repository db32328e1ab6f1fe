import { actorsBench } from './actors.ts';
import type { Bench } from './document.ts';

/** By the name that `dwcp bench NAME` takes. */
export const benches: ReadonlyMap<string, Bench> = new Map(
  [actorsBench].map((bench) => [bench.name, bench]),
);
