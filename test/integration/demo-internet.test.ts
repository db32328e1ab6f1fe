/** `dwcp demo --mode internet` as root: the agents in network namespaces with a WAN between, and nothing left of it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { namespacesLeft, processesWith, until } from '../lab/host-state.ts';

const DWCP = fileURLToPath(new URL('../../../bin/dwcp.js', import.meta.url));
const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root';

interface InternetDemo {
  readonly guardian: number;
  readonly exited: Promise<unknown>;
  readonly document: Promise<string>;
  interrupt(): void;
}

/** Once the guest moves. `sizeBytes` is on the command lines of this demo and of no other process. */
async function startDemo(sizeBytes: number): Promise<InternetDemo> {
  const words = ['demo', '--mode', 'internet', '--json', '--size', `${sizeBytes}`];
  const demo = spawn(process.execPath, [DWCP, ...words, '--dirty-rate', '128KiB/s'], {
    env: { ...process.env, DWCP_NO_SETUP: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const document = once(createInterface({ input: demo.stdout }), 'line').then(String);
  const exited = once(demo, 'exit').then(([code]: unknown[]) => code);
  for await (const line of createInterface({ input: demo.stderr })) {
    if (line.startsWith('guest "demo" works on a')) break;
  }
  demo.stderr.resume();
  const inside = processesWith('--inside').map((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'utf8'),
  );
  const own = inside.find((line) => line.includes(`\0${sizeBytes}\0`));
  const guardian = Number(/dwcp-lab-(\d+)-b/.exec(own ?? '')?.[1]);
  assert.equal(namespacesLeft(guardian).length, 2, 'it runs on two hosts');
  return { guardian, exited, document, interrupt: () => demo.kill('SIGINT') };
}

async function assertNothingLeft(guardian: number, sizeBytes: number): Promise<void> {
  await until('processes are left', () => processesWith(`${sizeBytes}`).length === 0);
  await until('namespaces are left', () => namespacesLeft(guardian).length === 0);
}

describe('the demo in internet mode', { skip: needsRoot, timeout: 240_000 }, () => {
  it('moves a live guest over a WAN, verifies it, and says over what', async () => {
    const sizeBytes = 8 * 2 ** 20 + process.pid * 4096;
    const demo = await startDemo(sizeBytes);
    const document = JSON.parse(await demo.document) as Record<string, unknown>;
    assert.equal(await demo.exited, 0);
    assert.equal(document['verified'], true);
    assert.equal(document['path'], 'wan: 100 Mbit/s, 40 ms, 0.1 % loss');
    assert.deepEqual(document['owner'], { before: 'a', after: 'b', epoch: 2 });
    await assertNothingLeft(demo.guardian, sizeBytes);
  });

  it('leaves no process and no namespace when it is interrupted', async () => {
    const sizeBytes = 96 * 2 ** 20 + process.pid * 4096;
    const demo = await startDemo(sizeBytes);
    demo.interrupt();
    assert.equal(await demo.exited, 130);
    await assertNothingLeft(demo.guardian, sizeBytes);
  });
});
