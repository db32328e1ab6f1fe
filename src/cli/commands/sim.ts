/** `dwcp sim`: the simulator lives in `sim/` and is loaded only when asked for, before any scenario is. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import type { SeedReport } from '../../../sim/campaign/seed-run.ts';
import { bugOfReplay, plant } from '../../../sim/museum/workshop.ts';
import type { Replay } from '../../../sim/replay.ts';
import type { ReplayFit } from '../../../sim/world/decisions.ts';
import type { SimulateOptions } from '../../../sim/world/simulate.ts';
import { DwcpError } from '../../util/errors.ts';
import { currentCommit } from '../commit.ts';
import { addCommand, formatTable, type JsonOption, printResult } from '../output.ts';
import { parseCount, parseSeeds, parseShard } from '../sim/seeds.ts';
import { loadTools, type Tools } from '../sim/tools.ts';
import { addMuseumCommand } from './sim-museum.ts';

export function addSimCommands(program: Command): void {
  const sim = program
    .command('sim')
    .description('simulate clusters deterministically: run, replay, shrink, check')
    .addHelpText('after', '\nExample:\n  dwcp sim run register --seeds 1..200');
  addListCommand(sim);
  addRunCommand(sim);
  addReplayCommand(sim);
  addShrinkCommand(sim);
  addMuseumCommand(sim);
  addCheckCommand(sim);
}

function addListCommand(sim: Command): void {
  const example = 'dwcp sim list --json';
  addCommand(sim, 'list', 'the scenarios there are', example).action(
    async (options: JsonOption) => {
      const { scenarios } = await loadTools();
      const list = [...scenarios.values()].map(({ name, describe, depth, hosts, faults }) => {
        const what = { describe: describe ?? '', depth: depth ?? '' };
        return { name, ...what, hosts, faults: faults ?? [] };
      });
      const rows = list.map(({ name, depth, hosts, describe }) => {
        return [name, depth, String(hosts), describe];
      });
      printResult(options, list, formatTable(['SCENARIO', 'DEPTH', 'HOSTS', 'WHAT'], rows));
    },
  );
}

interface RunOptions extends JsonOption {
  readonly seed?: string;
  readonly seeds?: string;
  readonly shard?: string;
  readonly workers?: string;
  readonly checkDeterminism?: true;
  readonly chaosMs?: string;
  readonly operations?: string;
  readonly out: string;
}

function addRunCommand(sim: Command): void {
  const example = 'dwcp sim run register --seeds 1..200 --check-determinism';
  addCommand(sim, 'run <scenario>', 'run one seed or many; exits 1 when one fails', example)
    .option('--seed <n>', 'one seed')
    .option('--seeds <a..b>', 'a range of seeds, both ends included')
    .option('--shard <i/n>', 'only the i-th of n parts of the range')
    .option('--workers <n>', 'threads (default: the cores of this machine)')
    .option('--check-determinism', 'run every seed twice and compare every event')
    .option('--chaos-ms <n>', 'simulated time with faults (default: the scenario says, else 60000)')
    .option('--operations <n>', 'what clients ask in all (default: the scenario says, else 1000)')
    .option('--out <dir>', 'where replay files of failing seeds go', '.')
    .action(async (name: string, options: RunOptions) => {
      const { runCampaign } = await loadTools();
      const seeds = seedsOf(options);
      const bar = showBar(seeds.length, options);
      const summary = await runCampaign({
        ...{ scenario: name, seeds, simulate: sizeOf(options), commit: currentCommit() },
        checkDeterminism: options.checkDeterminism === true,
        workers: parseCount(options.workers, availableParallelism(), '--workers'),
        onSeed: (report, replay) => {
          const file = replay === null ? null : writeReplay(options.out, replay);
          const line = { ...report, replay: file };
          bar?.increment();
          if (options.json) process.stdout.write(`${JSON.stringify(line)}\n`);
          else if (!report.ok || seeds.length === 1)
            process.stdout.write(`${describeSeed(line)}\n`);
        },
      });
      bar?.stop();
      const missed = summary.missed.map((label) => `never seen: ${label}`);
      const counted = `${summary.seeds - summary.failed.length} of ${summary.seeds} seeds ok`;
      const events = `${summary.events} events, ${summary.simulatedMs} simulated ms`;
      const text = [...missed, `${counted}, ${events}, ${summary.wallMs} ms`].join('\n');
      printResult(options, summary, text);
      if (!summary.ok) process.exitCode = 1;
    });
}

function addReplayCommand(sim: Command): void {
  const example = 'dwcp sim replay dwcp-replay-register-7.json';
  addCommand(sim, 'replay <file>', 'repeat a failing run; exits 1 when it fails again', example)
    .option('--trace <file>', 'write every event as NDJSON')
    .action(async (file: string, options: JsonOption & { readonly trace?: string }) => {
      const text = readText(file);
      const { tools, done } = await toolsFor(text);
      const { parseReplay, runReplay, loadScenario, reportOf, toPlain } = tools;
      const replay = parseReplay(text, file);
      warnOfOtherCommit(replay);
      const scenario = await loadScenario(replay.scenario);
      const lines: string[] = [];
      const { result, sameTrace, reproduced } = runReplay(scenario, replay, {
        onEvent: ({ atUs, kind, actor, data }) => {
          if (options.trace === undefined) return;
          lines.push(`${JSON.stringify({ atUs, kind, actor, data: toPlain(data) })}\n`);
        },
      });
      if (options.trace !== undefined) writeFileSync(options.trace, lines.join(''));
      const document = {
        ...reportOf(result),
        replay: file,
        reproduced,
        sameTrace,
        fit: result.fit,
      };
      const same = sameTrace ? 'the same events' : 'other events';
      const outcome = reproduced ? 'the same outcome' : 'another outcome';
      const summary = [describeSeed({ ...document, replay: null }), `${same}, ${outcome}`];
      printResult(options, document, [...summary, ...misfit(result.fit)].join('\n'));
      done();
      if (!result.ok) process.exitCode = 1;
    });
}

interface ShrinkOptions extends JsonOption {
  readonly out?: string;
  readonly maxMs?: string;
}

function addShrinkCommand(sim: Command): void {
  const example = 'dwcp sim shrink dwcp-replay-register-7.json';
  addCommand(sim, 'shrink <file>', 'make a failing run small; writes FILE.small.json', example)
    .option('--out <file>', 'where the smaller run goes')
    .option('--max-ms <n>', 'time to try (default: 60000)')
    .action(async (file: string, options: ShrinkOptions) => {
      const text = readText(file);
      const { tools, done } = await toolsFor(text);
      const { parseReplay, recordReplay, loadScenario, shrink } = tools;
      const replay = parseReplay(text, file);
      warnOfOtherCommit(replay);
      const scenario = await loadScenario(replay.scenario);
      const maxMs = parseCount(options.maxMs, 60_000, '--max-ms');
      const shrunk = shrink(scenario, replay, {
        ...{ maxMs, maxRuns: 10_000 },
        onProgress: (faults, runs) => process.stderr.write(`${faults} faults after ${runs} runs\n`),
      });
      if (shrunk === null) {
        throw new DwcpError('ERR_DWCP_USAGE', `${file} does not fail on this commit`, {
          hint: `It was recorded at commit ${replay.commit}.`,
        });
      }
      const { scenario: name, bug } = replay;
      const planted = bug === undefined ? {} : { bug };
      const origin = { scenario: name, commit: currentCommit(), ...planted };
      const small = recordReplay(scenario, { ...shrunk, seed: replay.seed }, origin);
      const out = options.out ?? `${file.replace(/\.json$/, '')}.small.json`;
      writeFileSync(out, `${JSON.stringify(small)}\n`);
      const { runs, faultsBefore, faultsAfter, result, configuration } = shrunk;
      const { violation, events } = result;
      const counts = { runs, faultsBefore, faultsAfter, events };
      const { plan, workload } = configuration;
      const document = { scenario: replay.scenario, seed: replay.seed, ...counts, violation };
      const faults = plan.faults.map((fault) => `  ${JSON.stringify(fault)}`);
      const described = [
        `${faultsBefore} faults became ${faultsAfter}, in ${runs} runs: ${violation?.message}`,
        ...faults,
        `npx dwcp sim replay ${out}`,
      ].join('\n');
      printResult(options, { ...document, plan, workload, replay: out }, described);
      done();
    });
}

function addCheckCommand(sim: Command): void {
  const example = 'dwcp sim check kv history.ndjson';
  const what = 'judge a history (NDJSON): register, cas-register, kv or ownership';
  addCommand(sim, 'check <checker> <file>', what, example)
    .option('--max-ms <n>', 'time to search (default: 10000)')
    .action(async (checker: string, file: string, options: JsonOption & { maxMs?: string }) => {
      const { checkHistory } = await loadTools();
      const maxMs = parseCount(options.maxMs, 10_000, '--max-ms');
      const verdict = checkHistory(checker, readText(file), { file, maxMs });
      const witness =
        verdict.witness === null ? '' : `\n${JSON.stringify(verdict.witness, null, 2)}`;
      printResult(options, verdict, `${verdict.verdict}${witness}`);
      if (!verdict.ok) process.exitCode = 1;
    });
}

/** A replay of the museum needs its bug planted again: then the simulator of the copy repeats it. */
async function toolsFor(text: string): Promise<{ tools: Tools; done: () => void }> {
  const bug = bugOfReplay(text);
  if (bug === null) return { tools: await loadTools(), done: () => {} };
  process.stderr.write(`planting ${bug} in a copy\n`);
  const copy = plant(bug);
  return { tools: await loadTools(copy.module('sim/tools.js')), done: copy.remove };
}

/** What other code than the recorded one draws anew. */
function misfit(fit: ReplayFit | null): readonly string[] {
  if (fit === null || fit.missing + fit.unused + fit.newLabels.length === 0) return [];
  const { missing, unused, newLabels } = fit;
  return [
    `${missing} draws were not recorded, of ${newLabels.length} labels nothing was; ${unused} were not asked for`,
  ];
}

function seedsOf({ seed, seeds, shard }: RunOptions): readonly number[] {
  if ((seed === undefined) === (seeds === undefined)) {
    throw new DwcpError('ERR_DWCP_USAGE', 'which seeds? Give either --seed or --seeds', {
      hint: 'For example --seed 7, or --seeds 1..200.',
    });
  }
  return parseShard(shard, parseSeeds(seed ?? seeds ?? ''));
}

function sizeOf({ chaosMs, operations }: RunOptions): Omit<SimulateOptions, 'seed'> {
  const ms = parseCount(chaosMs, 0, '--chaos-ms');
  const count = parseCount(operations, 0, '--operations');
  return {
    ...(ms === 0 ? {} : { timing: { chaosUs: ms * 1_000 } }),
    ...(count === 0 ? {} : { workload: { operations: count } }),
  };
}

function showBar(seeds: number, { json }: JsonOption): SingleBar | null {
  if (!process.stderr.isTTY || json === true || seeds === 1) return null;
  const format = '{bar} {percentage}% | {value}/{total} seeds | {eta_formatted} to go';
  const bar = new SingleBar({ format, stream: process.stderr, hideCursor: true, barsize: 24 });
  bar.start(seeds, 0);
  return bar;
}

function describeSeed(report: SeedReport): string {
  const { seed, ok, events, simulatedMs, wallMs, violation, difference, traceHash } = report;
  const head = `seed ${seed}: ${ok ? 'ok' : 'FAILED'}, ${events} events, ${simulatedMs} simulated ms`;
  const found = violation === null ? [] : [`  ${violation.checker}: ${violation.message}`];
  const differs =
    difference === null ? [] : [`  two runs differ at event ${JSON.stringify(difference)}`];
  const again =
    report.replay === null
      ? []
      : [`  npx dwcp sim replay ${report.replay}`, `  npx dwcp sim shrink ${report.replay}`];
  return [`${head} in ${wallMs} ms, trace ${traceHash}`, ...found, ...differs, ...again].join('\n');
}

function writeReplay(folder: string, replay: Replay): string {
  mkdirSync(folder, { recursive: true });
  const name = basename(replay.scenario)
    .replace(/\.[cm]?js$/, '')
    .replace(/[^A-Za-z0-9-]/g, '-');
  const file = join(folder, `dwcp-replay-${name}-${replay.seed}.json`);
  writeFileSync(file, `${JSON.stringify(replay)}\n`);
  return file;
}

function warnOfOtherCommit({ commit }: Replay): void {
  const here = currentCommit();
  if (commit === here) return;
  process.stderr.write(`recorded at commit ${commit}, this is ${here}: replaying draws by label\n`);
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new DwcpError('ERR_DWCP_USAGE', `cannot read ${file}: ${String(cause)}`, { cause });
  }
}
