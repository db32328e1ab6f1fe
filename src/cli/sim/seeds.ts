import { DwcpError } from '../../util/errors.ts';

const SEEDS_MAX = 10_000_000;

/** `7`, or `1..200` with both ends. */
export function parseSeeds(text: string): readonly number[] {
  const match = /^(\d+)(?:\.\.(\d+))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  const count = last - first + 1;
  if (!Number.isSafeInteger(last) || !(count >= 1 && count <= SEEDS_MAX)) {
    throw new DwcpError('ERR_DWCP_USAGE', `"${text}" is no seed and no range of seeds`, {
      hint: `Give a number, or two such as 1..200, at most ${SEEDS_MAX} seeds.`,
    });
  }
  return Array.from({ length: count }, (_, index) => first + index);
}

/** `2/5`: every fifth seed, beginning with the second. */
export function parseShard(text: string | undefined, seeds: readonly number[]): readonly number[] {
  if (text === undefined) return seeds;
  const match = /^(\d+)\/(\d+)$/.exec(text);
  const [shard, of] = [Number(match?.[1]), Number(match?.[2])];
  const part = seeds.filter((_, index) => index % of === shard - 1);
  if (match === null || !(shard >= 1 && shard <= of) || part.length === 0) {
    throw new DwcpError('ERR_DWCP_USAGE', `"${text}" is no part of ${seeds.length} seeds`, {
      hint: 'Give the part and their number, such as 1/4, and no more parts than seeds.',
    });
  }
  return part;
}

export function parseCount(text: string | undefined, otherwise: number, option: string): number {
  if (text === undefined) return otherwise;
  const count = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(count) && count > 0) return count;
  throw new DwcpError('ERR_DWCP_USAGE', `${option} takes a whole number above 0, got "${text}"`);
}
