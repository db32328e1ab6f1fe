/** Loads in turns (A B A B), and their figures as results of a bench. */
import type { BenchResult, BenchRunOptions, Floor, PeerResult, Target } from './document.ts';
import { formatFigure } from './harness.ts';
import type { LoadFigures } from './kv-load.ts';
import { assertAboveFloor, pairwise, summarize } from './statistics.ts';

export interface Loaded {
  readonly name: string;
  readonly run: () => Promise<LoadFigures>;
}

export interface Turns {
  readonly repetitions: number;
  readonly warmups: number;
  readonly onProgress: BenchRunOptions['onProgress'];
}

/** The figures of each, one list per contender. */
export async function inTurns(
  what: string,
  contenders: readonly Loaded[],
  { repetitions, warmups, onProgress }: Turns,
): Promise<readonly (readonly LoadFigures[])[]> {
  const figures = contenders.map((): LoadFigures[] => []);
  for (let run = -warmups; run < repetitions; run += 1) {
    for (const [index, contender] of contenders.entries()) {
      const loaded = await contender.run();
      const { p50Us, p99Us, perSecond } = loaded;
      onProgress(
        `${what}: ${contender.name} ${run < 0 ? 'warm-up' : `run ${run + 1}`}: ` +
          `p50 ${formatFigure(p50Us)} us, p99 ${formatFigure(p99Us)} us, ${formatFigure(perSecond)}/s`,
      );
      if (run >= 0) figures[index]?.push(loaded);
    }
  }
  return figures;
}

export interface Reported {
  readonly case: string;
  readonly unit: string;
  readonly higherIsBetter: boolean;
  readonly take: (figures: LoadFigures) => number;
  readonly targets?: (peer: PeerResult | null, ours: number) => readonly Target[];
  readonly floor?: Floor;
}

/** One figure of ours, beside that of the peer that ran in turns with it. */
export function reported(
  { case: name, unit, higherIsBetter, take, targets, floor = undefined }: Reported,
  ours: readonly LoadFigures[],
  peer: { readonly name: string; readonly figures: readonly LoadFigures[] } | null,
): BenchResult {
  const mine = ours.map(take);
  const theirs = peer === null ? null : pairwise(peer.name, mine, peer.figures.map(take));
  assertAboveFloor(name, mine, higherIsBetter, floor ?? null);
  const summary = summarize(mine);
  return {
    ...{ case: name, unit, higherIsBetter, ours: summary, floor: floor ?? null },
    peers: theirs === null ? [] : [theirs],
    targets: targets?.(theirs, summary.median) ?? [],
  };
}

export function tellTargets(
  results: readonly BenchResult[],
  onProgress: BenchRunOptions['onProgress'],
): void {
  for (const { case: name, targets } of results) {
    for (const { what, target, measured, met } of targets) {
      const verdict = met ? 'meets' : 'MISSES';
      onProgress(`${name}: ${what} ${formatFigure(measured)} ${verdict} ${target}`);
    }
  }
}
