import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { connect as connectTcp } from 'node:net';
import { after, before, test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import fc from 'fast-check';
import { type Authority, createAuthority, issueNode } from '../../src/identity/authority.ts';
import type {
  ControlChannel,
  ControlEvent,
  ControlListener,
  RefusedConnections,
} from '../../src/ports/transport.ts';
import { encodeFrame, FrameDecoder } from '../../src/transports/frame-decoder.ts';
import { createTlsControlTransport } from '../../src/transports/tls-control.ts';
import { DwcpError, type Outcome } from '../../src/util/errors.ts';
import { until } from '../transports/bulk-pair.ts';

const FRAME_BYTES_MAX = 1000;
let authority: Authority;
let listener: ControlListener;
const accepted: ControlChannel[] = [];
const refused: RefusedConnections[] = [];

before(async () => {
  authority = await createAuthority();
  const transport = createTlsControlTransport({
    identity: await issueNode(authority, 'b'),
    maxFrameBytes: FRAME_BYTES_MAX,
  });
  const outcome = await new Promise<Outcome<ControlListener>>((resolve) => {
    const onChannel = (channel: ControlChannel): number => accepted.push(channel);
    const onRefused = (report: RefusedConnections): number => refused.push(report);
    transport.listen({ host: '127.0.0.1', port: 0 }, onChannel, resolve, onRefused);
  });
  assert.ok(outcome.ok);
  listener = outcome.value;
});

after(() => {
  listener.close();
  for (const channel of accepted) channel.close();
});

/** An authenticated node that may write anything; with the listener's view of it. */
async function rawNode(): Promise<readonly [TLSSocket, ControlEvent[]]> {
  const { certificatePem, privateKeyPem, authorityPem } = await issueNode(authority, 'a');
  const index = accepted.length;
  const socket = connectTls({
    ...{ host: '127.0.0.1', port: listener.port, checkServerIdentity: () => undefined },
    ...{ cert: certificatePem, key: privateKeyPem, ca: authorityPem },
  });
  socket.on('error', () => {});
  socket.resume();
  await until(() => accepted.length > index);
  const events: ControlEvent[] = [];
  accepted[index]?.subscribe((event) => events.push(event));
  return [socket, events];
}

test('a stranger that speaks no TLS is refused with a code, once', async () => {
  const socket = connectTcp(listener.port, '127.0.0.1');
  const gone = new Promise((resolve) => socket.on('close', resolve));
  socket.on('error', () => {});
  socket.resume();
  socket.write(randomBytes(512));
  await gone;
  await until(() => refused.length > 0);
  assert.equal(refused.length, 1);
  assert.equal(refused[0]?.count, 1);
  assert.equal(refused[0]?.error.code, 'ERR_DWCP_PROTOCOL');
});

test('a node that sends a frame beyond the bound is cut off; another one is not', async () => {
  const [good, goodEvents] = await rawNode();
  const [bad, badEvents] = await rawNode();
  bad.write(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1, 2, 3));
  await until(() => badEvents.length > 0);
  assert.equal(badEvents.length, 1);
  assert.ok(badEvents[0]?.type === 'closed' && badEvents[0].error?.code === 'ERR_DWCP_PROTOCOL');
  good.write(encodeFrame(Uint8Array.of(1, 2, 3)));
  await until(() => goodEvents.length > 0);
  assert.equal(goodEvents[0]?.type, 'frame');
  good.destroy();
});

test('a frame that is cut off is never delivered, and the end is told', async () => {
  const [socket, events] = await rawNode();
  socket.write(encodeFrame(Uint8Array.of(1, 2, 3, 4)).subarray(0, 6));
  socket.end();
  await until(() => events.length > 0);
  assert.deepEqual(
    events.map(({ type }) => type),
    ['closed'],
  );
});

test('any bytes, cut anywhere, give frames within the bound or one coded error', () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 20 });
  fc.assert(
    fc.property(pieces, (list) => {
      const decoder = new FrameDecoder(FRAME_BYTES_MAX);
      try {
        for (const piece of list) {
          for (const frame of decoder.write(piece)) assert.ok(frame.length <= FRAME_BYTES_MAX);
        }
      } catch (error) {
        assert.ok(error instanceof DwcpError && error.code === 'ERR_DWCP_PROTOCOL', `${error}`);
      }
    }),
  );
});

test('frames survive every way of cutting them', () => {
  const frames = fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 10 });
  fc.assert(
    fc.property(frames, fc.integer({ min: 1, max: 50 }), (list, step) => {
      const bytes = Buffer.concat(list.map((frame) => encodeFrame(frame)));
      const decoder = new FrameDecoder(FRAME_BYTES_MAX);
      const got: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += step) {
        got.push(...decoder.write(bytes.subarray(at, at + step)));
      }
      assert.deepEqual(got, list);
    }),
  );
});
