/** `dwcp bench`: benchmarks live in `bench/` and are loaded only when asked for. */
import type { Command } from 'commander';
import type { Bench } from '../../../bench/document.ts';
import { DwcpError } from '../../util/errors.ts';
import { addCommand, formatTable, type JsonOption, printResult } from '../output.ts';

export function addBenchCommand(program: Command): void {
  addCommand(
    program,
    'bench <name>',
    'run a benchmark, or list them all ("bench list")',
    'dwcp bench actors --quick --json',
  )
    .option('--quick', 'small sizes and few repetitions')
    .action(async (name: string, options: JsonOption & { readonly quick?: true }) => {
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
      const document = await bench.run({
        quick: options.quick === true,
        onProgress: (line) => process.stderr.write(`${line}\n`),
      });
      printResult(options, document, JSON.stringify(document, null, 2));
    });
}

async function loadBenches(): Promise<ReadonlyMap<string, Bench>> {
  const registry = new URL('../../../bench/registry.js', import.meta.url).href;
  return ((await import(registry)) as { benches: ReadonlyMap<string, Bench> }).benches;
}
