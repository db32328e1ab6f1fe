/** Any checker over a history from anywhere: one operation or interval a line, as JSON. */
import { DwcpError } from '../src/util/errors.ts';
import { checkLinearizability } from './checkers/linearizability.ts';
import { type Model, models } from './checkers/models.ts';
import type { Operation } from './checkers/operation.ts';
import { checkOwnership, type RunInterval } from './checkers/ownership.ts';

export interface HistoryVerdict {
  readonly checker: string;
  readonly ok: boolean;
  readonly verdict: string;
  readonly operations: number;
  readonly witness: unknown;
}

type Check = (rows: readonly unknown[], maxMs: number) => { verdict: string; witness?: unknown };

const linearizability =
  <S, I, O>(model: Model<S, I, O>): Check =>
  (rows, maxMs) =>
    checkLinearizability(model, rows as Operation<I, O>[], { maxMs });

export const historyCheckers: ReadonlyMap<string, Check> = new Map<string, Check>([
  ['register', linearizability(models.register)],
  ['cas-register', linearizability(models.casRegister)],
  ['kv', linearizability(models.kv)],
  ['ownership', (rows) => checkOwnership(rows as RunInterval[])],
]);

const FIELDS: Readonly<Record<string, readonly string[]>> = {
  ownership: ['vm', 'instance', 'host', 'epoch', 'fromUs', 'toUs'],
  other: ['client', 'callUs', 'returnUs', 'input'],
};

export function checkHistory(
  name: string,
  text: string,
  options: { readonly file: string; readonly maxMs: number },
): HistoryVerdict {
  const check = historyCheckers.get(name);
  if (check === undefined) {
    throw new DwcpError('ERR_DWCP_USAGE', `no checker "${name}"`, {
      hint: `There are: ${[...historyCheckers.keys()].join(', ')}.`,
    });
  }
  const fields = FIELDS[name] ?? FIELDS['other'] ?? [];
  const rows = text
    .split('\n')
    .map((line, index) => ({ line, where: `${options.file}:${index + 1}` }))
    .filter(({ line }) => line.trim() !== '')
    .map(({ line, where }) => parseRow(line, where, fields));
  const { verdict, witness } = check(rows, options.maxMs);
  const ok = verdict === 'linearizable' || verdict === 'ok';
  return { checker: name, ok, verdict, operations: rows.length, witness: witness ?? null };
}

function parseRow(line: string, where: string, fields: readonly string[]): object {
  let row: unknown = null;
  try {
    row = JSON.parse(line);
  } catch {
    // Told below, like a row that lacks a field.
  }
  const missing =
    typeof row === 'object' && row !== null
      ? fields.filter((field) => !Object.hasOwn(row, field))
      : fields;
  if (missing.length === 0) return row as object;
  throw new DwcpError('ERR_DWCP_PROTOCOL', `${where}: no ${missing.join(', ')} in this line`, {
    hint: `Each line is a JSON object with ${fields.join(', ')}.`,
  });
}
