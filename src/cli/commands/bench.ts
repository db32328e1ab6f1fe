/** `dwcp bench`: benchmarks live in `bench/` and are loaded only when asked for. */
import type { Command } from 'commander';
import type { Bench } from '../../../bench/document.ts';
import { DwcpError } from '../../util/errors.ts';
import { showShares } from '../bench-display.ts';
import { addCommand, formatTable, type JsonOption, printResult } from '../output.ts';

interface BenchCommandOptions extends JsonOption {
  readonly quick?: true;
  readonly set?: readonly string[];
}

export function addBenchCommand(program: Command): void {
  addCommand(
    program,
    'bench <name>',
    'run a benchmark, or list them all ("bench list")',
    'dwcp bench actors --quick --json',
  )
    .option('--quick', 'small sizes and few repetitions')
    .option(
      '--set <key=value...>',
      'what a benchmark lets you choose, such as size=1GiB; it says what that is',
    )
    .action(async (name: string, options: BenchCommandOptions) => {
      const benches = await loadBenches();
      if (name === 'list') {
        const list = [...benches.values()].map((each) => ({
          name: each.name,
          describe: each.describe,
        }));
        const rows = list.map((each) => [each.name, each.describe]);
        printResult(options, list, formatTable(['NAME', 'MEASURES'], rows));
        return;
      }
      const bench = benches.get(name);
      if (bench === undefined) {
        throw new DwcpError('ERR_DWCP_USAGE', `no benchmark "${name}"`, {
          hint: `There are: ${[...benches.keys()].join(', ')}.`,
        });
      }
      const display = showShares();
      const document = await bench
        .run({
          quick: options.quick === true,
          onProgress: display.line,
          onShare: display.share,
          settings: settingsOf(options.set ?? []),
        })
        .finally(display.stop);
      printResult(options, document, JSON.stringify(document, null, 2));
    });
}

function settingsOf(words: readonly string[]): ReadonlyMap<string, string> {
  return new Map(
    words.map((word) => {
      const at = word.indexOf('=');
      if (at < 1) throw new DwcpError('ERR_DWCP_USAGE', `--set takes KEY=VALUE, not "${word}"`);
      return [word.slice(0, at), word.slice(at + 1)];
    }),
  );
}

async function loadBenches(): Promise<ReadonlyMap<string, Bench>> {
  const registry = new URL('../../../bench/registry.js', import.meta.url).href;
  return ((await import(registry)) as { benches: ReadonlyMap<string, Bench> }).benches;
}
