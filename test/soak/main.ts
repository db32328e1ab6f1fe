/** `npm run soak`: all of it takes hours; options choose a part, `--seconds` a time. */
import { Command, Option } from 'commander';
import { type Choice, cellsOf, FAULTS, GUESTS, VICTIMS } from './cells.ts';
import { type RunReport, type SoakReport, soak } from './soak.ts';

interface Options {
  readonly guest: Choice['guests'];
  readonly victim: Choice['victims'];
  readonly fault: Choice['faults'];
  readonly step?: string;
  readonly runs: number;
  readonly holdMs: readonly number[];
  readonly seed: number;
  readonly seconds?: number;
  readonly json?: true;
}

const several = (flags: string, help: string, all: readonly string[]): Option =>
  new Option(`${flags} <names...>`, help).choices([...all]).default([...all]);

const program = new Command('soak')
  .description('every step x victim x fault x guest; who runs is judged from the guests themselves')
  .addOption(several('--guest', 'which guests', GUESTS))
  .addOption(several('--victim', 'whom it hits', VICTIMS))
  .addOption(several('--fault', 'what happens', FAULTS))
  .option(
    '--step <part>',
    'only steps whose name has this part, such as "source after send fenced"',
  )
  .option('--runs <n>', 'of each', Number, 3)
  .option(
    '--hold-ms <list>',
    'how long an agent is away or a way cut, in turn by run',
    (list: string) => list.split(',').map(Number),
    [300, 1500, 11_500],
  )
  .option('--seed <n>', 'of order and destinations', Number, Date.now() % 1_000_000)
  .option('--seconds <n>', 'begin no run after this long', Number)
  .option('--json', 'one document at the end')
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
  .parse();

const options = program.opts<Options>();
const { guest: guests, victim: victims, fault: faults, step = null } = options;
const cells = cellsOf({ guests, victims, faults, step });
if (cells.length === 0) program.error(`no step has "${step}" in its name`, { exitCode: 2 });
process.stderr.write(`soak: ${cells.length} cells x ${options.runs} runs, seed ${options.seed}\n`);
const report = await soak({
  cells,
  runs: options.runs,
  holdsMs: options.holdMs,
  seed: options.seed,
  seconds: options.seconds ?? null,
  onRun: (run) => process.stderr.write(`${line(run)}\n`),
});
const isGood = report.bad.length === 0;
if (options.json === true)
  console.log(JSON.stringify({ seed: options.seed, ok: isGood, ...report }));
else console.log(summary(report));
process.exit(isGood ? 0 : 1);

function line({ done, planned, outcome, cell, holdMs, runsAgainMs, why }: RunReport): string {
  const progress = `${done}/${planned}`.padStart(11);
  return `${progress}  ${outcome.padEnd(9)} ${cell}, ${holdMs} ms: again after ${runsAgainMs} ms; ${why}`;
}

function summary({ done, planned, outcomes, beats, slowestRunsAgainMs }: SoakReport): string {
  const counts = Object.entries(outcomes).map(([outcome, count]) => `${count} ${outcome}`);
  return (
    `soak: ${done} of ${planned} runs: ${counts.join(', ')}; ${beats} beats judged; ` +
    `slowest to run again in one place: ${slowestRunsAgainMs} ms`
  );
}
