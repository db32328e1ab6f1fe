#!/usr/bin/env node
// Writes the README's table of moves over a WAN from what the benches printed: `node scripts/bench-table.mjs`.
// With --check it only says whether the README has what it would write.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const checkout = dirname(dirname(fileURLToPath(import.meta.url)));
const RESULTS = join(checkout, 'bench/results');
const README = join(checkout, 'README.md');
const BEGIN =
  '<!-- bench-table: from bench/results/wan-migration*.json by scripts/bench-table.mjs -->';
const END = '<!-- bench-table: end -->';
const MIB = 2 ** 20;
/** Ours as it is: what the others are divided into. */
const OURS = 'dwcp';

/** What `dwcp bench wan-migration --json` printed, in the order of the files' names. */
function documents() {
  return readdirSync(RESULTS)
    .filter((name) => /^wan-migration.*\.json$/.test(name))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(RESULTS, name), 'utf8')));
}

function table({ commit, machine, results }) {
  const of = (what) => {
    const found = results.find((result) => result.case.endsWith(`: ${what}`));
    if (found === undefined) throw new Error(`no result "${what}"`);
    return found;
  };
  const total = of('total');
  const bytes = of('bytes over the link');
  const downtime = of('downtime seen by the client');
  const guest = total.case.replace(/: total$/, '');
  const moves = total.ours.samples.length;
  const row = (name, pick) => {
    const [seconds, mebibytes, ms] = [
      [total, 1000],
      [bytes, MIB],
      [downtime, 1],
    ].map(([result, unit]) => spread(pick(result).samples, unit));
    const ratios = [total, bytes].map((result) => pick(result).ratio?.median);
    const [time, wire] = ratios.map((ratio) => (ratio === undefined ? '' : ratio.toFixed(2)));
    return `| ${name} | ${seconds} | ${mebibytes} | ${ms} | ${time} | ${wire} |`;
  };
  const peers = total.peers.map(({ name }) =>
    row(name, (result) => result.peers.find((peer) => peer.name === name)),
  );
  return [
    `${guest}. ${moves === 1 ? 'One move' : `${moves} moves`} of each, in turns${moves > 1 ? '; median (least to most)' : ''}.`,
    `${machine.cpu}, ${machine.cores} cores, kernel ${machine.kernel}; commit ${commit.slice(0, 7)}.`,
    '',
    '| | total, s | MiB over the link | downtime that a client saw, ms | time of ours by its time | bytes of ours by its bytes |',
    '|---|---|---|---|---|---|',
    row(OURS, (result) => result.ours),
    ...peers,
  ].join('\n');
}

function spread(samples, unit) {
  const sorted = samples.map((sample) => sample / unit).sort((a, b) => a - b);
  const half = sorted.length / 2;
  const median = (sorted[Math.ceil(half) - 1] + sorted[Math.floor(half)]) / 2;
  if (sorted.length === 1) return figure(median);
  return `${figure(median)} (${figure(sorted[0])} to ${figure(sorted.at(-1))})`;
}

function figure(value) {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

function withTables(readme) {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error('README.md has no place for the table');
  const tables = documents().map(table).join('\n\n');
  return `${readme.slice(0, begin + BEGIN.length)}\n${tables}\n${readme.slice(end)}`;
}

const before = readFileSync(README, 'utf8');
const after = withTables(before);
if (process.argv.includes('--check')) {
  if (before !== after) {
    console.error('README.md differs from what the benches printed: node scripts/bench-table.mjs');
    process.exitCode = 1;
  }
} else {
  writeFileSync(README, after);
}
