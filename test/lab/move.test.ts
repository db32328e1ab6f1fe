import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { withWan } from '../../bench/lab/wan.ts';

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root';
const END = fileURLToPath(new URL('move-end.js', import.meta.url));
const MEMORY_BYTES = 48 * 2 ** 20;
const ROUND_TRIP_MS = 10;

it('a guest moves over the metro link, byte for byte', {
  skip: needsRoot,
  timeout: 20_000,
}, async () => {
  await withWan({ profile: 'metro' }, async (wan) => {
    const { a, b } = wan.addresses;
    const [command = '', ...args] = [...wan.enter.a, process.execPath, END, a, b, ...wan.enter.b];
    const { stdout } = await promisify(execFile)(command, args);
    const receipt = JSON.parse(stdout) as {
      readonly verified: boolean;
      readonly totalMs: number;
      readonly guestsAtB: readonly string[];
    };
    assert.equal(receipt.verified, true);
    assert.deepEqual(receipt.guestsAtB, ['traveller']);
    const { ab, ba } = await wan.stats();
    assert.ok(ab.deliveredBytes > MEMORY_BYTES, `only ${ab.deliveredBytes} bytes took the link`);
    assert.ok(receipt.totalMs > 2 * ROUND_TRIP_MS, 'no move is faster than its round trips');
    for (const { overruns, refused, deviceDrops, largestPacketBytes } of [ab, ba]) {
      assert.equal(overruns + refused + deviceDrops, 0);
      assert.ok(largestPacketBytes <= 1500, 'the kernel handed out a packet that no wire takes');
    }
    assert.equal(ab.largestPacketBytes, 1500, 'TCP filled its packets');
  });
});
