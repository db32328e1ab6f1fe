/** `dwcp sim museum`: how many seeds until the campaign finds what went wrong elsewhere. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import type { Bug } from '../../../sim/museum/bug.ts';
import type { BugReport } from '../../../sim/museum/museum.ts';
import type { Replay } from '../../../sim/replay.ts';
import { DwcpError } from '../../util/errors.ts';
import { currentCommit } from '../commit.ts';
import { addCommand, type JsonOption, printResult } from '../output.ts';
import { parseCount } from '../sim/seeds.ts';
import { loadTools } from '../sim/tools.ts';

interface MuseumOptions extends JsonOption {
  readonly only?: string;
  readonly ranges?: string;
  readonly range?: string;
  readonly maxSeeds?: string;
  readonly workers?: string;
  readonly bugSeconds?: string;
  readonly shrink?: true;
  readonly shrinkMs?: string;
  readonly out?: string;
}

export function addMuseumCommand(sim: Command): void {
  const example = 'dwcp sim museum --only read-before-applied --shrink';
  const what = 'plant historical bugs into copies and count the seeds until they are found';
  addCommand(sim, 'museum', `${what}; exits 1 when one is missed`, example)
    .option('--only <id,...>', 'these bugs only')
    .option('--ranges <n>', 'disjoint ranges of seeds, of which the median counts (default: 5)')
    .option('--range <n>', 'only the n-th of them, such as to run them one by one')
    .option('--max-seeds <n>', 'seeds of a range (default: 2000)')
    .option('--bug-seconds <n>', 'time to search for one bug, over all ranges (default: no end)')
    .option('--workers <n>', 'threads (default: the cores of this machine)')
    .option('--shrink', 'shrink every find, and tell how small it became')
    .option('--shrink-ms <n>', 'time to shrink one find (default: 60000)')
    .option('--out <dir>', 'write the replay file of every find there')
    .action(async (options: MuseumOptions) => {
      const { bugs, runMuseum } = await loadTools();
      const chosen = choose(bugs, options.only);
      const seedsMax = parseCount(options.maxSeeds, 2_000, '--max-seeds');
      const bar = showBar(chosen.length, options);
      let done = 0;
      const summary = await runMuseum({
        ...{ bugs: chosen, seedsMax, commit: currentCommit() },
        ranges: rangesOf(options),
        workers: parseCount(options.workers, availableParallelism(), '--workers'),
        budgetMs:
          options.bugSeconds === undefined
            ? null
            : parseCount(options.bugSeconds, 60, '--bug-seconds') * 1_000,
        shrinkMs:
          options.shrink === true ? parseCount(options.shrinkMs, 60_000, '--shrink-ms') : null,
        onSeed: ({ id }, seeds) => bar?.update(done, { id, seeds }),
        onFind: (_, replay) => {
          if (options.out !== undefined) keep(options.out, replay);
        },
        onBug: (report) => {
          done += 1;
          bar?.update(done, { id: report.id, seeds: 0 });
          const text = options.json ? JSON.stringify(report) : describe(report);
          process.stdout.write(`${text}\n`);
        },
      });
      bar?.stop();
      const { missed, seedsToFind, shrink, wallMs } = summary;
      const found = `${chosen.length - missed.length} of ${chosen.length} bugs found`;
      const smaller =
        shrink === null
          ? []
          : [
              `shrunk to ${percent(shrink.ratioMedian)} of the faults, in at most ${shrink.msMax} ms`,
            ];
      const lines = [
        ...missed.map((id) => `MISSED ${id}`),
        `${found}, median of medians ${seedsToFind ?? 'none'} seeds, ${wallMs} ms`,
      ];
      printResult(options, summary, [...lines, ...smaller].join('\n'));
      if (!summary.ok) process.exitCode = 1;
    });
}

function rangesOf({ range, ranges }: MuseumOptions): readonly number[] {
  if (range !== undefined) return [parseCount(range, 1, '--range') - 1];
  return [...new Array(parseCount(ranges, 5, '--ranges')).keys()];
}

function choose(bugs: readonly Bug[], only: string | undefined): readonly Bug[] {
  if (only === undefined) return bugs;
  return only.split(',').map((id) => {
    const bug = bugs.find((each) => each.id === id);
    if (bug !== undefined) return bug;
    throw new DwcpError('ERR_DWCP_USAGE', `no bug "${id}" in the museum`, {
      hint: `There are: ${bugs.map((each) => each.id).join(', ')}.`,
    });
  });
}

function showBar(count: number, { json }: JsonOption): SingleBar | null {
  if (!process.stderr.isTTY || json === true) return null;
  const format = '{bar} {value}/{total} bugs | {id}: {seeds} seeds';
  const bar = new SingleBar({ format, stream: process.stderr, hideCursor: true, barsize: 24 });
  bar.start(count, 0, { id: '', seeds: 0 });
  return bar;
}

function describe(report: BugReport): string {
  const { id, story, source, seeds, tried, seedsToFind, caughtBy, cleanFails, scenario } = report;
  const caught = Object.entries(caughtBy).map(([checker, count]) => `${checker} ${count}`);
  const numbers = seeds.map((each, at) => each ?? `missed in ${tried[at]}`).join(', ');
  const median = seedsToFind === null ? 'MISSED' : `${seedsToFind} seeds`;
  return [
    `${id}: ${median} (${numbers}) at depth ${scenario}, by ${caught.join(', ') || 'nobody'}`,
    `  ${story}`,
    `  ${source}`,
    ...(cleanFails.length === 0 ? [] : [`  clean code fails too: seeds ${cleanFails.join(', ')}`]),
  ].join('\n');
}

function keep(folder: string, replay: Replay): void {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `dwcp-replay-${replay.bug}-${replay.seed}.json`);
  writeFileSync(file, `${JSON.stringify(replay)}\n`);
}

function percent(ratio: number): string {
  return `${Math.round(ratio * 100)} %`;
}
