/** Runs ours and its peers in turns (A B A B), never one side after the other. */
import { cpus, release } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { currentCommit } from '../src/cli/commit.ts';
import { assert } from '../src/util/assert.ts';
import type {
  BenchDocument,
  BenchResult,
  BenchRunOptions,
  Floor,
  MachineFacts,
  PeerResult,
  Summary,
  Target,
} from './document.ts';
import { assertAboveFloor, pairwise, summarize } from './statistics.ts';

/** From `dist/bench` to the checkout. */
export const checkout: string = join(dirname(fileURLToPath(import.meta.url)), '../..');

export interface Contender {
  readonly name: string;
  /** One whole run; resolves with its figure in the unit of the case. */
  readonly run: () => Promise<number>;
}

export interface CaseOptions {
  readonly case: string;
  readonly unit: string;
  readonly higherIsBetter: boolean;
  readonly ours: Contender;
  readonly peers: readonly Contender[];
  readonly floor: Floor | null;
  readonly repetitions: number;
  readonly warmups: number;
  readonly targets: (ours: Summary, peers: readonly PeerResult[]) => readonly Target[];
  readonly onProgress: BenchRunOptions['onProgress'];
}

export async function measureCase(options: CaseOptions): Promise<BenchResult> {
  assert(options.repetitions >= 1 && options.warmups >= 0, 'a case runs at least once');
  const contenders = [options.ours, ...options.peers];
  const samples = contenders.map((): number[] => []);
  for (let run = -options.warmups; run < options.repetitions; run += 1) {
    for (const [index, contender] of contenders.entries()) {
      const value = await contender.run();
      options.onProgress(
        `${options.case}: ${contender.name} ${run < 0 ? 'warm-up' : `run ${run + 1}`}: ` +
          `${formatFigure(value)} ${options.unit}`,
      );
      if (run >= 0) samples[index]?.push(value);
    }
  }
  const [mine = [], ...theirs] = samples;
  assertAboveFloor(options.case, mine, options.higherIsBetter, options.floor);
  const ours = summarize(mine);
  const peers = options.peers.map((peer, index) => pairwise(peer.name, mine, theirs[index] ?? []));
  const { unit, higherIsBetter, floor } = options;
  const targets = options.targets(ours, peers);
  return { case: options.case, unit, higherIsBetter, ours, peers, targets, floor };
}

/** For a figure that fell out of another case's runs, such as CPU seconds beside throughput. */
export function sideResult(
  caseName: string,
  unit: string,
  higherIsBetter: boolean,
  ours: readonly number[],
  peers: readonly PeerResult[] = [],
): BenchResult {
  const summary = summarize(ours);
  return { case: caseName, unit, higherIsBetter, ours: summary, peers, targets: [], floor: null };
}

export function benchDocument(name: string, results: readonly BenchResult[]): BenchDocument {
  return { name, commit: currentCommit(), machine: machineFacts(), results };
}

export function machineFacts(): MachineFacts {
  const all = cpus();
  return { cpu: all[0]?.model.trim() ?? 'unknown', cores: all.length, kernel: release() };
}

export function formatFigure(value: number): string {
  return Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString('en-US')
    : value.toPrecision(4).replace(/\.?0+$/, '');
}
