/** A running migration on stderr: a bar on a terminal, one line per round elsewhere. */
import { Presets, SingleBar } from 'cli-progress';
import type { MigrationProgress } from '../node.ts';
import { formatBytes, formatRate } from '../util/units.ts';

export interface MigrationDisplay {
  update(progress: MigrationProgress): void;
  stop(): void;
}

export function showMigration(): MigrationDisplay {
  return process.stderr.isTTY ? showBar() : showLines();
}

function showBar(): MigrationDisplay {
  const bar = new SingleBar(
    {
      format: '{bar} {percentage}% | {facts}',
      stream: process.stderr,
      hideCursor: true,
      barsize: 24,
    },
    Presets.shades_classic,
  );
  bar.start(100, 0, { facts: 'preflight' });
  return {
    update: (progress) =>
      bar.update(Math.floor(percentDone(progress)), { facts: describeProgress(progress) }),
    stop: () => bar.stop(),
  };
}

function showLines(): MigrationDisplay {
  let last = '';
  return {
    update: (progress) => {
      const step = `${progress.phase} ${progress.round}`;
      if (step === last) return;
      last = step;
      process.stderr.write(`${describeProgress(progress)}\n`);
    },
    stop: () => {},
  };
}

/** Of what is left of the guest's memory, so that a guest that dirties fast walks backwards honestly. */
function percentDone(progress: MigrationProgress): number {
  if (progress.totalBytes === 0) return 0;
  const left = Math.min(progress.remainingBytes, progress.totalBytes);
  return 100 * (1 - left / progress.totalBytes);
}

export function describeProgress(progress: MigrationProgress): string {
  const { etaMs } = progress;
  const eta = etaMs === null ? 'ETA none' : `ETA ${seconds(etaMs.low)}-${seconds(etaMs.high)} s`;
  const facts = [
    `${progress.phase} round ${progress.round}`,
    `${formatRate(progress.goodputBytesPerSec)}`,
    `dirty ${formatRate(progress.dirtyBytesPerSec)}`,
    `left ${formatBytes(progress.remainingBytes)}`,
    eta,
  ];
  return progress.reason === '' ? facts.join(', ') : `${facts.join(', ')}: ${progress.reason}`;
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}
