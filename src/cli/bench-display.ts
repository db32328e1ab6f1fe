/** A running benchmark on stderr: its lines, and on a terminal a bar below them for what takes minutes. */
import { Presets, SingleBar } from 'cli-progress';

export interface BenchDisplay {
  readonly line: (text: string) => void;
  readonly share: (what: string, share: number) => void;
  readonly stop: () => void;
}

export function showShares(): BenchDisplay {
  const line = (text: string): void => {
    process.stderr.write(`${text}\n`);
  };
  if (!process.stderr.isTTY) return { line, share: () => {}, stop: () => {} };
  let bar: SingleBar | null = null;
  const stop = (): void => {
    bar?.stop();
    bar = null;
  };
  return {
    line: (text) => {
      stop();
      line(text);
    },
    share: (what, share) => {
      bar ??= started();
      bar.update(Math.floor(100 * share), { what });
    },
    stop,
  };
}

function started(): SingleBar {
  const format = '{bar} {percentage}% | {what}';
  const options = { format, stream: process.stderr, hideCursor: true, barsize: 24 };
  const bar = new SingleBar({ ...options, clearOnComplete: true }, Presets.shades_classic);
  bar.start(100, 0, { what: '' });
  return bar;
}
