/** Sizes and rates as people write them: `1GiB`, `256KiB`, `100MiB/s`, `1.5Gbit/s`. */
import { DwcpError } from './errors.ts';

const BYTE_UNITS: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['b', 1],
  ['kib', 2 ** 10],
  ['mib', 2 ** 20],
  ['gib', 2 ** 30],
  ['tib', 2 ** 40],
  ['kb', 1e3],
  ['mb', 1e6],
  ['gb', 1e9],
  ['tb', 1e12],
  ['kbit', 1e3 / 8],
  ['mbit', 1e6 / 8],
  ['gbit', 1e9 / 8],
]);

/** Parses a size in bytes, or a rate in bytes per second when it ends in `/s`. */
export function parseBytes(text: string): number {
  const match = /^\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)(?:\/s)?\s*$/.exec(text);
  const unit = BYTE_UNITS.get((match?.[2] ?? '?').toLowerCase());
  if (match?.[1] === undefined || unit === undefined) {
    throw new DwcpError('ERR_DWCP_USAGE', `not a size: "${text}"`, {
      hint: 'Write a number and a unit, such as 512MiB, 1GiB, 100MiB/s or 1Gbit/s.',
    });
  }
  return Math.round(Number(match[1]) * unit);
}

export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;
  let value = bytes;
  let index = 0;
  while (Math.abs(value) >= 1024 && index < units.length - 1) {
    value /= 1024;
    index += 1;
  }
  const digits = index === 0 || Math.abs(value) >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[index]}`;
}

export function formatRate(bytesPerSec: number): string {
  return `${formatBytes(bytesPerSec)}/s`;
}
