/** What every command prints the same way: results to stdout, failures to stderr, JSON on request. */
import type { Command } from 'commander';
import { DwcpError } from '../util/errors.ts';

export interface JsonOption {
  readonly json?: true;
}

/** A command with `--json` and an example below its help, as all of ours are. */
export function addCommand(
  parent: Command,
  usage: string,
  description: string,
  example: string,
): Command {
  return parent
    .command(usage)
    .description(description)
    .option('--json', 'print one JSON document, or one per line where it streams')
    .addHelpText('after', `\nExample:\n  ${example}`);
}

export function printResult(options: JsonOption, document: unknown, text: string): void {
  process.stdout.write(options.json ? `${JSON.stringify(document)}\n` : `${text}\n`);
}

export function exitCodeOf(error: unknown): 1 | 2 {
  return error instanceof DwcpError && error.code === 'ERR_DWCP_USAGE' ? 2 : 1;
}

/** People read stderr; with `--json` a script finds the same failure as the document on stdout. */
export function printFailure(error: unknown, json: boolean): void {
  if (!(error instanceof DwcpError)) {
    process.stderr.write(`error: ${error instanceof Error ? error.stack : String(error)}\n`);
    if (json) printErrorDocument('ERR_DWCP_INTERNAL', String(error), null);
    return;
  }
  process.stderr.write(`error ${error.code}: ${error.message}\n`);
  if (error.hint !== null) process.stderr.write(`  ${error.hint}\n`);
  if (json) printErrorDocument(error.code, error.message, error.hint);
}

function printErrorDocument(code: string, message: string, hint: string | null): void {
  process.stdout.write(`${JSON.stringify({ error: { code, message, hint } })}\n`);
}

/** Left-aligned columns, two blanks apart. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [header, ...rows].map(line).join('\n');
}
