/** Records when power is lost: the old or the new, never half, and an acknowledged one for good. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { calmPlan, World } from '../../sim/index.ts';
import type { StoredRecord } from '../../src/ports/storage.ts';
import { DiskStorage } from '../../src/storage/records.ts';
import { succeeded } from '../../src/util/errors.ts';

test('power lost during a put leaves the old record or the new one', () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 80; seed += 1) {
    const world = new World({ seed, plan: calmPlan, hosts: ['h'], clients: [] });
    const [host] = world.hosts;
    assert.ok(host);
    const first = new DiskStorage(host.disk);
    const value = (letter: string): Uint8Array => new Uint8Array(1500).fill(letter.charCodeAt(0));
    let isDurable = false;
    first.put('fence/m1', value('a'), () => {});
    world.run(world.nowUs + 1_000_000);
    first.put('fence/m1', value('b'), ({ ok }) => {
      isDurable = ok;
    });
    world.run(world.nowUs + seed * 25);
    host.crash();
    host.restart();
    const second = new DiskStorage(host.disk);
    const answers: unknown[] = [];
    second.tidy((outcome) => answers.push(outcome));
    second.list('fence/', (outcome) => answers.push(outcome));
    world.run(world.nowUs + 1_000_000);
    const [tidied, listed] = answers as [unknown, ReturnType<typeof succeeded<StoredRecord[]>>];
    assert.deepEqual(tidied, succeeded(undefined));
    assert.ok(listed.ok);
    assert.equal(listed.value.length, 1);
    const letter = String.fromCharCode(listed.value[0]?.value[0] ?? 0);
    assert.deepEqual(listed.value[0]?.value, value(letter));
    if (isDurable) assert.equal(letter, 'b');
    seen.add(`${letter} ${isDurable}`);
    const left = Object.keys(host.disk.durableState());
    assert.ok(left.length <= 2, left.join(' '));
  }
  assert.deepEqual([...seen].sort(), ['a false', 'b false', 'b true']);
});
