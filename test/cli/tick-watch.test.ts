import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { TickWatch } from '../../src/cli/demo/tick-watch.ts';

const folder = mkdtempSync(join(tmpdir(), 'dwcp-ticks-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Two hosts; what the guest wrote at each, and what the watch made of it. */
async function watched(name: string, source: string, target: string): Promise<TickWatch> {
  const [a, b] = [join(folder, name, 'a'), join(folder, name, 'b')];
  const serial = (dataDir: string, text: string) => {
    mkdirSync(join(dataDir, 'qemu-guests', 'one'), { recursive: true });
    appendFileSync(join(dataDir, 'qemu-guests', 'one', 'serial'), text);
  };
  serial(a, `Linux says hello\r\n${source}`);
  const watch = new TickWatch([a, b]);
  await watch.ready();
  serial(b, target);
  // The watch finds the new port by looking, as it does for a QEMU that was just started.
  await new Promise((resolve) => setTimeout(resolve, 50));
  return watch;
}

const tick = (count: number) => `tick ${count.toString(16).padStart(8, '0')} 123\r\n`;

test('a line that the move cut in two is one line', async () => {
  const cut = tick(3);
  const watch = await watched('whole', tick(1) + tick(2) + cut.slice(0, 7), cut.slice(7) + tick(4));
  assert.deepEqual([watch.report().operations, watch.fault], [4, null]);
  assert.equal(watch.report().invariantHeld, true);
  watch.close();
});

for (const [what, target, fault] of [
  ['a missing count', tick(4), /after 2 came 4/],
  ['a repeated count', tick(2) + tick(3), /after 2 came 2/],
  ['a line that lost its middle', `tick 0000${tick(4)}`, /said "tick 0000tick/],
  ['memory that is not what was written', `BAD page 7\r\n${tick(3)}`, /BAD page 7/],
] as const) {
  test(`${what} breaks the invariant`, async () => {
    const watch = await watched(what, tick(1) + tick(2), target);
    assert.equal(watch.report().invariantHeld, false);
    assert.match(watch.fault ?? '', fault);
    watch.close();
  });
}
