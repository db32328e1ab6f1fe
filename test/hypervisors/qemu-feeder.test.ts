import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { QemuFeeder } from '../../src/hypervisors/qemu/feeder.ts';
import type { IncomingOptions } from '../../src/ports/hypervisor.ts';
import { DwcpError } from '../../src/util/errors.ts';

test('a link that is gone when the twin is ready leaves no thread and no socket behind', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-feeder-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const qemuPath = join(folder, 'in');
  const hasEnded = new Promise<void>((resolve) => {
    const qemu = createServer((near) => void near.resume().on('end', resolve));
    t.after(() => qemu.close());
    qemu.listen(qemuPath);
  });
  for (const lost of ['receivePages', 'receiveBytes'] as const) {
    let open = 0;
    const receive = (name: string) => (): { close(): void } => {
      if (name === lost) throw new DwcpError('ERR_DWCP_CLOSED', 'the link was closed');
      open += 1;
      return {
        close: () => {
          open -= 1;
        },
      };
    };
    const link = {
      receivePages: receive('receivePages'),
      receiveBytes: receive('receiveBytes'),
    };
    const description = { memoryBytes: 2 ** 20 };
    const incoming = { link, transferId: 7, epoch: 1, description };
    const options = incoming as unknown as IncomingOptions;
    assert.throws(() => new QemuFeeder({ incoming: options, qemuPath, onEvent: () => {} }), {
      code: 'ERR_DWCP_CLOSED',
    });
    assert.equal(open, 0);
    assert.equal(existsSync(`${qemuPath}.c`), false);
  }
  await hasEnded;
});

test('what QEMU says before its stream is known waits, and then goes in the form of that stream', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-feeder-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const qemuPath = join(folder, 'in');
  const qemu = createServer((near) => void near.resume());
  t.after(() => qemu.close());
  qemu.listen(qemuPath);
  const link = {
    receivePages: () => ({ close: () => {} }),
    receiveBytes: () => ({ close: () => {} }),
  };
  let said: Uint8Array | null = null;
  const hasSaid = new Promise<void>((resolve) => {
    const onReturn = (bytes: Uint8Array): void => {
      said = bytes;
      resolve();
    };
    const incoming = {
      link,
      transferId: 7,
      epoch: 1,
      description: { memoryBytes: 2 ** 20 },
      onReturn,
    };
    const options = incoming as unknown as IncomingOptions;
    const feeder = new QemuFeeder({ incoming: options, qemuPath, onEvent: () => {} });
    t.after(() => feeder.close());
    feeder.say(Uint8Array.of(0, 2, 0, 4, 0, 0, 0, 1));
  });
  assert.equal(said, null, 'nobody knows yet how the source reads it');
  const source = connect(`${qemuPath}.c`);
  t.after(() => source.destroy());
  source.write('QEVM, as a migration begins that passes as it is');
  await hasSaid;
  assert.deepEqual(said, Uint8Array.of(0, 2, 0, 4, 0, 0, 0, 1));
});
