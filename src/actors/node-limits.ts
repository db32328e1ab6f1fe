/** The ranges of what an embedder or an operator may ask of a node; beyond them lie our assertions. */
import type { MigrateOptions, StartNodeOptions } from '../node.ts';
import { RESUME_GRACE_MS_MAX } from '../protocols/migration/types.ts';
import { DwcpError } from '../util/errors.ts';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const PAGE_BYTES = 4 * KIB;
const DOWNTIME_MS_MAX = 3_600_000;

interface Range {
  readonly min: number;
  readonly max: number;
  readonly multipleOf?: number;
}

const RANGES: Readonly<Record<string, Range>> = {
  bulkPort: { min: 0, max: 65_535 },
  streams: { min: 1, max: 512 },
  chunkBytes: { min: 16 * KIB, max: 16 * MIB, multipleOf: PAGE_BYTES },
  windowBytes: { min: MIB, max: 4096 * MIB },
  maxConcurrentMigrations: { min: 1, max: 64 },
  resumeGraceMs: { min: 0, max: RESUME_GRACE_MS_MAX },
  maxCpuPercent: { min: 0, max: 6400 },
  maxBandwidth: { min: 0, max: Number.MAX_SAFE_INTEGER },
  migrationBandwidth: { min: 0, max: Number.MAX_SAFE_INTEGER },
};

/** Throws `ERR_DWCP_USAGE` that names the option and what is allowed. */
export function checkNodeOptions(options: StartNodeOptions): void {
  for (const [name, value] of Object.entries(options)) {
    const range = RANGES[name];
    if (range === undefined || value === undefined) continue;
    if ((name === 'streams' || name === 'chunkBytes') && value === 'auto') continue;
    check(name, value, range);
  }
}

/** Bytes per second; 0 is unlimited. */
export function checkBandwidth(bytesPerSec: number): void {
  check('maxBandwidth', bytesPerSec, { min: 0, max: Number.MAX_SAFE_INTEGER });
}

/** What a migration may go to so that it converges. */
export function checkLadder(options: MigrateOptions): void {
  const {
    maxDowntimeMs = 0,
    maxDowntimeCeilingMs = maxDowntimeMs,
    throttlePercentMax = 0,
  } = options;
  check('throttlePercentMax', throttlePercentMax, { min: 0, max: 99 });
  check('maxDowntimeMs', maxDowntimeMs, { min: 0, max: DOWNTIME_MS_MAX });
  check('maxDowntimeCeilingMs', maxDowntimeCeilingMs, { min: maxDowntimeMs, max: DOWNTIME_MS_MAX });
}

function check(name: string, value: unknown, { min, max, multipleOf = 1 }: Range): void {
  const fits = Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max;
  if (fits && Number(value) % multipleOf === 0) return;
  const step = multipleOf === 1 ? '' : `, in steps of ${multipleOf}`;
  throw new DwcpError('ERR_DWCP_USAGE', `${name} cannot be ${String(value)}`, {
    hint: `Give a whole number from ${min} to ${max}${step}.`,
  });
}
