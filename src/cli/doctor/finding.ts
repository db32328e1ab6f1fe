/** One line of the doctor's report. */
export interface Finding {
  readonly name: string;
  readonly status: 'ok' | 'warn' | 'missing';
  readonly value: string;
  /** What improves it, as a command line where there is one; null when nothing is to be done. */
  readonly fix: string | null;
  /** Without it dwcp does not work at all: the doctor exits 1. */
  readonly required: boolean;
}

export function fine(name: string, value: string): Finding {
  return { name, status: 'ok', value, fix: null, required: false };
}

export function warning(name: string, value: string, fix: string): Finding {
  return { name, status: 'warn', value, fix, required: false };
}

export function missing(name: string, value: string, fix: string, required = false): Finding {
  return { name, status: 'missing', value, fix, required };
}
