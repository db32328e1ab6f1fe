import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { freeze, isAlive } from '../../src/hypervisors/process-fence.ts';
import { launchQemu, openQmp, type RunningQemu } from '../../src/hypervisors/qemu/launch.ts';
import { prepareMigration, throttleMigration } from '../../src/hypervisors/qemu/migrate.ts';
import { checkDisks, describeMachine } from '../../src/hypervisors/qemu/preflight.ts';
import type { Qmp } from '../../src/hypervisors/qemu/qmp.ts';
import type { QemuBinary } from '../../src/ports/hypervisor.ts';
import { ReturnPath } from '../../src/protocols/qemu/return-path.ts';
import { promised } from '../../src/util/promised.ts';
import { kill, until } from './waiting.ts';

const folder = mkdtempSync(join(tmpdir(), 'dwcp-qemu-'));
const started: RunningQemu[] = [];
after(async () => {
  await Promise.all(started.map((one) => kill(one.process)));
  rmSync(folder, { recursive: true, force: true });
});

const qemu = JSON.parse(
  execFileSync('node', ['scripts/qemu.mjs'], { encoding: 'utf8', timeout: 300_000 }),
) as QemuBinary;
const firmware = join(folder, 'counter.bin');
execFileSync('node', ['scripts/guests/counter.mjs', firmware]);

async function start(name: string, extra: readonly string[]): Promise<RunningQemu> {
  const args = [
    ...['-machine', 'q35,accel=tcg,memory-backend=mem0', '-m', '64M', '-nodefaults'],
    ...['-object', 'memory-backend-memfd,id=mem0,size=64M,share=on', '-display', 'none'],
    ...['-bios', firmware, '-serial', 'file:@RUN@/serial', ...extra],
  ];
  const running = await launchQemu(qemu, args, join(folder, name));
  started.push(running);
  // Its QMP socket may be there before this is.
  const serial = join(folder, name, 'serial');
  await until(() => existsSync(serial), 'QEMU made no file for its serial port');
  return running;
}

function open(running: RunningQemu): Promise<Qmp> {
  return openQmp({ path: running.qmpPath, onEvent: () => {}, onClose: () => {} });
}

/** What the named QEMUs printed one after another is one text: the switch may cut a line in two. */
function ticks(...names: readonly string[]): number[] {
  const text = names.map((name) => readFileSync(join(folder, name, 'serial'), 'latin1')).join('');
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line) => Number.parseInt(line.slice(-8), 16));
}

async function status(qmp: Qmp): Promise<string | undefined> {
  return (await qmp.ask<{ status?: string }>('query-migrate')).status;
}

async function reaches(qmp: Qmp, wanted: string): Promise<void> {
  for (let tries = 0; tries < 400; tries += 1) {
    if ((await status(qmp)) === wanted) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail(`migration is ${await status(qmp)}, not ${wanted}`);
}

test('a writable local disk is refused by name unless it is declared shared', async () => {
  const disk = join(folder, 'disk.raw');
  writeFileSync(disk, '');
  truncateSync(disk, 1 << 20);
  const drive = `if=none,id=d0,format=raw,file=${disk}`;
  const qmp = await open(
    await start('disk', ['-drive', drive, '-device', 'virtio-blk-pci,drive=d0']),
  );
  await assert.rejects(checkDisks(qmp, new Set()), { code: 'ERR_DWCP_LOCAL_DISK' });
  await checkDisks(qmp, new Set([disk]));
  const { memoryBytes, machine } = await describeMachine(qmp);
  assert.equal(memoryBytes, 64 * 2 ** 20);
  assert.match(machine['machine'] ?? '', /^pc-q35-\d/);
  await assert.rejects(qmp.ask('no-such-command'), { code: 'ERR_DWCP_QMP' });
  qmp.close();
});

test('a QEMU that refuses its arguments is an error with its own words', async () => {
  await assert.rejects(launchQemu(qemu, ['-no-such'], join(folder, 'bad')), /no-such/);
});

test('a frozen source whose SHUT(0) is withheld dies, and its twin counts on without a gap', async (t) => {
  const source = await start('source', []);
  const target = await start('target', ['-S', '-incoming', 'defer']);
  await until(() => ticks('source').length > 20, 'the guest did not count');
  const [from, to] = [await open(source), await open(target)];
  t.after(() => {
    from.close();
    to.close();
  });
  for (const qmp of [from, to]) {
    const names = ['return-path', 'events'];
    const capabilities = names.map((capability) => ({ capability, state: true }));
    await qmp.ask('migrate-set-capabilities', { capabilities });
  }
  const incoming = join(folder, 'incoming');
  await to.ask('migrate-incoming', { uri: `unix:${incoming}` });
  const path = new ReturnPath();
  let loaded = false;
  const relay = createServer((near) => {
    const far = connect(incoming);
    near.pipe(far);
    far.on('data', (bytes: Buffer) => {
      const step = path.push(bytes);
      loaded = step.loaded;
      near.write(step.forward);
    });
    for (const socket of [near, far]) socket.on('error', () => {});
  });
  t.after(() => relay.close());
  const outgoing = join(folder, 'outgoing');
  await new Promise<void>((resolve) => relay.listen(outgoing, resolve));
  await from.ask('migrate', { uri: `unix:${outgoing}` });
  await reaches(to, 'completed');
  await until(() => loaded, 'SHUT(0) was not seen');
  assert.notEqual(await status(from), 'completed');
  await promised<void>((done) => freeze(source.process, done));
  const before = ticks('source').at(-1) ?? 0;
  await kill(source.process);
  assert.equal(isAlive(source.process), false);
  await to.ask('cont');
  await until(() => ticks('target').length > 20, 'the guest did not count on');
  const all = ticks('source', 'target').filter((tick) => !Number.isNaN(tick));
  assert.ok((all.at(-1) ?? 0) > before + 10, 'the counter went on');
  const gaps = all.filter((tick, index) => index > 0 && tick !== (all[index - 1] ?? 0) + 1);
  assert.deepEqual(gaps, []);
});

test('QEMU slows its guest down when it is told to, not before, and no longer than the migration', async (t) => {
  const running = await start('slow', []);
  await until(() => ticks('slow').length > 20, 'the guest did not count');
  const qmp = await open(running);
  t.after(() => qmp.close());
  await prepareMigration(qmp, 'source', { mayThrottle: true });
  await throttleMigration(qmp, 0);
  // Never done: what its guest dirties is more than it may leave over.
  await qmp.ask('migrate-set-parameters', { 'max-bandwidth': 400_000, 'downtime-limit': 1 });
  const sink = createServer((near) => void near.resume().on('error', () => {}));
  t.after(() => sink.close());
  const path = join(folder, 'sink');
  await new Promise<void>((resolve) => sink.listen(path, resolve));
  await qmp.ask('migrate', { uri: `unix:${path}` });
  const throttled = async (): Promise<number> => {
    const info = await qmp.ask<{ 'cpu-throttle-percentage'?: number }>('query-migrate');
    return info['cpu-throttle-percentage'] ?? 0;
  };
  await new Promise((resolve) => setTimeout(resolve, 4000));
  assert.equal(await status(qmp), 'active');
  assert.ok((await throttled()) <= 1, `${await throttled()} % before anybody asked`);
  await throttleMigration(qmp, 60);
  for (let tries = 0; (await throttled()) !== 60; tries += 1) {
    assert.ok(tries < 400, `it is slowed down by ${await throttled()} %`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await qmp.ask('migrate_cancel');
  await reaches(qmp, 'cancelled');
  assert.equal(await throttled(), 0);
  const before = ticks('slow').length;
  await until(() => ticks('slow').length > before + 10, 'the guest does not count on');
});
