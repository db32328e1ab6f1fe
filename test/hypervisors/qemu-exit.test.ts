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
  child.kill('SIGKILL');
  for (let tries = 0; exits.length === 0 && tries < 200; tries += 1) await delay(10);
  await delay(50);
  assert.equal(exits.join(), 'ERR_DWCP_GUEST_FAILED', 'told once');
  server.close();
});
