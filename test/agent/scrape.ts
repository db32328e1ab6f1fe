/** Reads an agent's `/metrics` as Prometheus would: series by name and labels, and the names declared. */
import assert from 'node:assert/strict';

export interface Scrape {
  /** `name{label="value"}` to value, of our own series. */
  readonly series: ReadonlyMap<string, number>;
  /** What `# TYPE` lines declare, with or without a sample. */
  readonly declared: ReadonlySet<string>;
}

export async function scrape(port: number): Promise<Scrape> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  assert.equal(response.status, 200);
  const lines = (await response.text()).split('\n');
  const samples = lines
    .filter((line) => line.startsWith('dwcp_'))
    .map((line): [string, number] => {
      const blank = line.lastIndexOf(' ');
      return [line.slice(0, blank), Number(line.slice(blank + 1))];
    });
  const declared = lines.flatMap((line) => /^# TYPE (dwcp_\S+)/.exec(line)?.[1] ?? []);
  return { series: new Map(samples), declared: new Set(declared) };
}
