import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { readStartTicks } from '../../src/hypervisors/process-fence.ts';
import { QemuGuest } from '../../src/hypervisors/qemu/guest.ts';
import { openQmp } from '../../src/hypervisors/qemu/launch.ts';

const folder = mkdtempSync(join(tmpdir(), 'dwcp-exit-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('a QEMU whose socket closes before its process has ended is still noticed to be gone', async () => {
  const qmpPath = join(folder, 'qmp');
  const connections: Socket[] = [];
  const server = createServer((socket) => {
    connections.push(socket);
    socket.write('{"QMP":{"version":{},"capabilities":[]}}\n');
    socket.on('data', (line) => {
      const { id } = JSON.parse(String(line)) as { id: number };
      socket.write(`${JSON.stringify({ return: {}, id })}\n`);
    });
  });
  await new Promise<void>((resolve) => server.listen(qmpPath, resolve));
  // Stands for QEMU: its life is apart from the socket's.
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const pid = child.pid ?? assert.fail('no process');
  const startTicks = readStartTicks(pid) ?? assert.fail('no process');
  const qmp = await openQmp({ path: qmpPath, onEvent: () => {}, onClose: () => {} });
  const exits: (string | undefined)[] = [];
  const guest = new QemuGuest({
    reference: { kind: 'qemu', name: 'g', pid, startTicks, socketPath: qmpPath },
    record: { qmpPath, memoryBytes: 2 ** 20, machine: {}, args: [], sharedDisks: [] },
    ...{ runDirectory: folder, qmp },
  });
  guest.onExit((error) => exits.push(error?.code));
  for (const socket of connections) socket.destroy();
  await delay(100);
  assert.equal(exits.join(), '', 'the process lives');
  // A node that looks at its guests meanwhile connects anew; that must not end the watch.
  server.close();
  guest.state(() => {});
  await delay(20);
  child.kill('SIGKILL');
  for (let tries = 0; exits.length === 0 && tries < 200; tries += 1) await delay(10);
  await delay(50);
  guest.state(() => {});
  await delay(20);
  assert.equal(exits.join(), 'ERR_DWCP_GUEST_FAILED', 'told once');
});

test('a QEMU that dies while nobody is connected is noticed by who looks', async () => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const pid = child.pid ?? assert.fail('no process');
  const startTicks = readStartTicks(pid) ?? assert.fail('no process');
  const qmpPath = join(folder, 'nobody');
  const guest = new QemuGuest({
    reference: { kind: 'qemu', name: 'g', pid, startTicks, socketPath: qmpPath },
    record: { qmpPath, memoryBytes: 2 ** 20, machine: {}, args: [], sharedDisks: [] },
    ...{ runDirectory: folder, qmp: null },
  });
  const exits: (string | undefined)[] = [];
  guest.onExit((error) => exits.push(error?.code));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  const outcome = await new Promise<{ readonly ok: boolean }>((done) => guest.state(done));
  assert.equal(outcome.ok, false);
  assert.equal(exits.join(), 'ERR_DWCP_GUEST_FAILED');
});
