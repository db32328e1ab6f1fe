import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createAuthority, issueNode } from '../../src/identity/authority.ts';
import type {
  ControlChannel,
  ControlListener,
  RefusedConnections,
} from '../../src/ports/transport.ts';
import { createTlsControlTransport } from '../../src/transports/tls-control.ts';
import type { Outcome } from '../../src/util/errors.ts';
import {
  assertEqualMemory,
  dialJoined,
  MIB,
  move,
  pairUp,
  until,
} from '../transports/bulk-pair.ts';

const STRANGERS = 10_000;
/** The join deadline is 5 s; the machine may be busy. */
const DEADLINE_MS = 20_000;
const children: ChildProcess[] = [];

after(() => {
  for (const child of children) child.kill('SIGKILL');
});

interface Report {
  readonly what: 'opened' | 'closed';
  readonly opened: number;
  readonly failed: number;
  readonly closed: number;
}

/** In a process of its own, with as many descriptors as the machine lets it have. */
function strangers(port: number, count: number): { readonly reports: Report[] } {
  const script = fileURLToPath(new URL('./silent-strangers.js', import.meta.url));
  const line = 'ulimit -n "$(ulimit -Hn)"; exec "$0" "$@"';
  const args = ['-c', line, process.execPath, script, String(port), String(count)];
  const child = spawn('sh', args, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  const reports: Report[] = [];
  createInterface({ input: child.stdout }).on('line', (text) => reports.push(JSON.parse(text)));
  return { reports };
}

/** Connections cost a descriptor here and one there: what the machine allows, at most all of them. */
function affordable(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const hard = /^Max open files\s+\S+\s+(\d+|unlimited)/m.exec(limits)?.[1] ?? '1024';
  return hard === 'unlimited' ? STRANGERS : Math.min(STRANGERS, Number(hard) - 500);
}

/** Without what is shared, which is the regions of this test. */
function residentBytes(): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}

/** Each was told once, those aside that the kernel's own queue dropped, and no flood of reports told it. */
async function assertTold(refused: readonly RefusedConnections[], count: number): Promise<void> {
  const codes = (): string[] => [...new Set(refused.map(({ error }) => error.code))].sort();
  await until(() => codes().length > 1);
  assert.deepEqual(codes(), ['ERR_DWCP_LIMIT', 'ERR_DWCP_TIMEOUT']);
  const told = refused.reduce((sum, report) => sum + report.count, 0);
  assert.ok(told <= count && told > count / 4, `${told} of ${count} were told`);
  assert.ok(refused.length < 60, `${refused.length} reports are a flood of their own`);
}

test('ten thousand connections that say nothing cost little, stop nobody and are closed', async () => {
  const count = affordable();
  const pair = await pairUp({ streams: 2 });
  try {
    assertEqualMemory(await move(pair, 16 * MIB, undefined, 1));
    const before = residentBytes();
    const { reports } = strangers(pair.port, count);
    // A transfer goes on meanwhile, and who has something to say still gets in.
    let transfers = 0;
    while (reports.length === 0) {
      assertEqualMemory(await move(pair, 4 * MIB, undefined, 100 + transfers));
      transfers += 1;
    }
    assert.deepEqual(
      { ...reports[0], closed: 0 },
      { what: 'opened', opened: count, failed: 0, closed: 0 },
    );
    await dialJoined(pair.dialling, pair.source, pair.port);
    assertEqualMemory(await move(pair, 16 * MIB, undefined, 50));
    assert.ok(transfers > 0);
    assert.equal(pair.source.counters().streams, 3);
    const grown = residentBytes() - before;
    assert.ok(grown < 64 * MIB, `the resident set grew by ${grown} bytes`);
    await until(() => reports.length === 2, DEADLINE_MS);
    assert.equal(reports[1]?.closed, count);
    await assertTold(pair.refused, count);
  } finally {
    pair.close();
  }
});

test('strangers that never finish a TLS handshake do not keep the peer out', async () => {
  const authority = await createAuthority();
  const a = createTlsControlTransport({ identity: await issueNode(authority, 'a') });
  const b = createTlsControlTransport({
    identity: await issueNode(authority, 'b'),
    handshakeTimeoutMs: 1000,
  });
  const accepted: ControlChannel[] = [];
  const refused: RefusedConnections[] = [];
  const listener = await new Promise<ControlListener>((resolve, reject) => {
    const done = (outcome: Outcome<ControlListener>): void => {
      if (outcome.ok) resolve(outcome.value);
      else reject(outcome.error);
    };
    const onChannel = (channel: ControlChannel): number => accepted.push(channel);
    const onRefused = (report: RefusedConnections): number => refused.push(report);
    b.listen({ host: '127.0.0.1', port: 0 }, onChannel, done, onRefused);
  });
  const count = Math.min(500, affordable());
  const channels: ControlChannel[] = [];
  try {
    const { reports } = strangers(listener.port, count);
    await until(() => reports.length > 0, DEADLINE_MS);
    const dialled = await new Promise<Outcome<ControlChannel>>((resolve) => {
      a.dial({ host: '127.0.0.1', port: listener.port }, 'b', resolve);
    });
    assert.ok(dialled.ok, dialled.ok ? '' : dialled.error.message);
    channels.push(dialled.value);
    assert.equal(dialled.value.peer, 'b');
    await until(() => reports.length === 2, DEADLINE_MS);
    await assertTold(refused, count);
  } finally {
    listener.close();
    for (const channel of [...channels, ...accepted]) channel.close();
  }
});
