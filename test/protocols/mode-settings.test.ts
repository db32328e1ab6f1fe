import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LINK_MODES } from '../../src/ports/link-mode.ts';
import { settingsOf } from '../../src/protocols/link/mode-settings.ts';

const AUTO = { streams: 'auto', congestionControl: 'auto', chunkBytes: 'auto' } as const;

test('every mode starts inside of its own bounds, with whole pages per chunk', () => {
  for (const mode of LINK_MODES) {
    const { streams, chunk } = settingsOf(mode, AUTO);
    assert.ok(streams.min <= streams.start && streams.start <= streams.max, mode);
    assert.ok(chunk.minBytes <= chunk.startBytes && chunk.startBytes <= chunk.maxBytes, mode);
    for (const bytes of Object.values(chunk)) assert.equal(bytes % 4096, 0, mode);
  }
});

test('longer ways get smaller chunks, more streams and more patience', () => {
  const [near, between, far] = LINK_MODES.map((mode) => settingsOf(mode, AUTO));
  assert.ok(near && between && far);
  assert.ok(near.chunk.startBytes > between.chunk.startBytes);
  assert.ok(between.chunk.startBytes > far.chunk.startBytes);
  assert.ok(near.streams.start < between.streams.start);
  assert.ok(between.streams.start < far.streams.start);
  assert.ok(near.silenceMs < between.silenceMs && between.silenceMs < far.silenceMs);
  assert.deepEqual(
    [near, between, far].map(({ congestionControl }) => congestionControl),
    ['cubic', 'bbr', 'bbr'],
  );
});

test('what the operator fixed stays as it is in every mode', () => {
  const asked = { streams: 3, congestionControl: 'reno', chunkBytes: 65_536 } as const;
  for (const mode of LINK_MODES) {
    const { streams, chunk, congestionControl } = settingsOf(mode, asked);
    assert.deepEqual(streams, { start: 3, min: 3, max: 3 });
    assert.deepEqual(chunk, { startBytes: 65_536, minBytes: 65_536, maxBytes: 65_536 });
    assert.equal(congestionControl, 'reno');
  }
});
