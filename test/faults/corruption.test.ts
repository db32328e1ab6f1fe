import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  assertEqualMemory,
  dialJoined,
  MIB,
  move,
  pairUp,
  until,
} from '../transports/bulk-pair.ts';
import { HEADER_BYTES } from './frames.ts';
import { tcpProxy } from './tcp-proxy.ts';

const CHUNK_HEADER = Buffer.from('DWCB\x01\x04', 'latin1');

/** All goes through a proxy that damages it, until it has; then a straight stream joins the link. */
async function findsDamage(
  damage: (bytes: Buffer, offset: number) => boolean,
  wanted: RegExp,
): Promise<void> {
  const pair = await pairUp({ streams: 0 });
  let damaged = false;
  const proxy = await tcpProxy(pair.port, (bytes, offset) => {
    damaged ||= damage(bytes, offset);
    return true;
  });
  try {
    await dialJoined(pair.dialling, pair.source, proxy.port);
    const moving = move(pair, 8 * MIB);
    await until(() => pair.lost.length > 0);
    assert.ok(damaged);
    await dialJoined(pair.dialling, pair.source, pair.port);
    assertEqualMemory(await moving);
    assert.equal(pair.target.counters().chunksCorrupt, 1);
    assert.ok(pair.source.counters().chunksReinjected > 0, 'nothing was sent again');
    assert.equal(pair.lost.length, 1);
    assert.equal(pair.lost[0]?.code, 'ERR_DWCP_CORRUPT');
    assert.match(pair.lost[0]?.message ?? '', wanted);
  } finally {
    proxy.close();
    pair.close();
  }
}

test('a bit that flips in a chunk on the wire is detected, sent again and counted', async () => {
  await findsDamage((bytes, offset) => {
    // Deep in the payload of the first chunk.
    const at = 100_000 - offset;
    if (at < 0 || at >= bytes.length) return false;
    bytes.writeUInt8(bytes.readUInt8(at) ^ 0x08, at);
    return true;
  }, /chunk .* checksum/);
});

test('a length that is damaged on the wire does not make the receiver wait for ever', async () => {
  await findsDamage((bytes) => {
    const at = bytes.indexOf(CHUNK_HEADER);
    if (at < 0 || at + HEADER_BYTES > bytes.length) return false;
    // The body seems to have 8 MiB more than anybody sends.
    bytes.writeUInt8(bytes.readUInt8(at + 10) ^ 0x80, at + 10);
    return true;
  }, /header .* check/);
});
