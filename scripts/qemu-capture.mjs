// Captures migration streams of a real QEMU: what it writes into each connection, byte for byte.
//
//   node scripts/qemu-capture.mjs FOLDER [NAME...]   one FOLDER/NAME.CONNECTION.gz per connection
//
// The guest is the counter firmware with a pattern in its memory, so nothing private is in a capture. The sink has
// no destination behind it: it answers a return path as a destination would that loaded everything.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { assembleCounter } from './guests/counter.mjs';
import { findQemu } from './qemu.mjs';

const VIRTIO = [
  ...['-device', 'virtio-rng-pci', '-device', 'virtio-balloon-pci'],
  ...['-device', 'virtio-serial-pci', '-netdev', 'user,id=n0,restrict=on'],
  ...['-device', 'virtio-net-pci,netdev=n0,romfile='],
];
const DIMM = [
  ...['-object', 'memory-backend-ram,id=d0,size=16M', '-device', 'pc-dimm,memdev=d0'],
  ...['-device', 'VGA,vgamem_mb=1,romfile='],
];
const VIRTIO_MEM = [
  ...['-object', 'memory-backend-ram,id=d0,size=16M'],
  ...['-device', 'virtio-mem-pci,memdev=d0,requested-size=4M'],
];
const SHARED = ['-object', 'memory-backend-memfd,id=ram0,size=16M,share=on'];
const MULTIFD = { multifd: true };

/** What a capture is of; `reads`: our parser knows all of it up to the devices. */
export const CAPTURES = {
  'q35-plain': { machine: 'q35', reads: true },
  'q35-return-path': { machine: 'q35', capabilities: { 'return-path': true }, reads: true },
  'pc-virtio': { machine: 'pc', devices: VIRTIO, reads: true },
  'q35-virtio': { machine: 'q35', devices: VIRTIO, reads: true },
  'q35-blocks': { machine: 'q35', memory: '16M,slots=2,maxmem=64M', devices: DIMM, reads: true },
  'pc-old': { machine: 'pc-i440fx-7.2', reads: true },
  'q35-xbzrle': { machine: 'q35', capabilities: { xbzrle: true }, reads: true },
  'q35-multifd': { machine: 'q35', capabilities: MULTIFD, reads: true },
  'q35-multifd-zlib': {
    machine: 'q35',
    capabilities: MULTIFD,
    parameters: { 'multifd-compression': 'zlib', 'multifd-channels': 3 },
    reads: true,
  },
  'q35-ignore-shared': {
    machine: 'q35,memory-backend=ram0',
    devices: SHARED,
    capabilities: { 'x-ignore-shared': true },
    reads: true,
  },
  'q35-virtio-mem': { machine: 'q35', memory: '16M,maxmem=64M', devices: VIRTIO_MEM, reads: false },
  'q35-postcopy': {
    machine: 'q35',
    capabilities: { 'postcopy-ram': true, 'return-path': true },
    reads: false,
  },
};

/** Under a return path nothing more comes once it was quiet for so long. */
const QUIET_MS = 300;
const GIVE_UP_MS = 30_000;
/** SHUT with 0: "I loaded it". */
const SHUT = Buffer.from([0, 1, 0, 4, 0, 0, 0, 0]);

/** The bytes of every connection, the main one first. */
export async function capture(qemu, { machine, memory = '16M', devices = [], ...options }) {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-capture-'));
  const firmware = join(folder, 'counter.bin');
  assembleCounter(firmware);
  const pattern = join(folder, 'pattern');
  writeFileSync(pattern, patternBytes());
  const qmpPath = join(folder, 'qmp');
  const args = [
    ...['-machine', `${machine},accel=tcg`, '-m', memory, '-nodefaults', '-display', 'none'],
    ...['-bios', firmware, '-serial', 'null', '-qmp', `unix:${qmpPath},server=on,wait=off`],
    ...['-device', `loader,file=${pattern},addr=0x200000,force-raw=on`, ...devices],
  ];
  const child = spawn(qemu.binary, [...qemu.args, ...args], {
    env: { ...process.env, ...qemu.env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    said += text;
  });
  try {
    return await migrated(await openQmp(qmpPath, child), join(folder, 'sink'), options);
  } catch (error) {
    throw new Error(`${error.message} ${said}`.trim());
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

async function migrated(qmp, path, { capabilities = {}, parameters = {} }) {
  const connections = [];
  let heardMs = Date.now();
  const server = createServer((socket) => {
    const pieces = [];
    connections.push({ socket, pieces });
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      pieces.push(bytes);
      heardMs = Date.now();
    });
  });
  await new Promise((resolve) => server.listen(path, resolve));
  try {
    const list = Object.entries(capabilities).map(([capability, state]) => ({ capability, state }));
    await qmp.ask('migrate-set-capabilities', { capabilities: list });
    await qmp.ask('migrate-set-parameters', { 'max-bandwidth': 0, ...parameters });
    await qmp.ask('migrate', { uri: `unix:${path}` });
    await ended(qmp, connections, () => Date.now() - heardMs > QUIET_MS);
    const streams = connections.map(({ pieces }) => Buffer.concat(pieces));
    const isMain = (bytes) => bytes.subarray(0, 4).toString('latin1') === 'QEVM';
    return [...streams.filter(isMain), ...streams.filter((bytes) => !isMain(bytes))];
  } finally {
    for (const { socket } of connections) socket.destroy();
    server.close();
    qmp.close();
  }
}

async function ended(qmp, connections, isQuiet) {
  const giveUpMs = Date.now() + GIVE_UP_MS;
  let isAnswered = false;
  while (Date.now() < giveUpMs) {
    const { status, 'error-desc': why } = await qmp.ask('query-migrate');
    if (status === 'completed') return;
    if (status === 'failed') throw new Error(`QEMU's migration failed: ${why}`);
    const { status: runState } = await qmp.ask('query-status');
    // A stopped guest and silence: what follows is up to the other side.
    if (!isAnswered && isQuiet() && /migrate/.test(runState)) {
      isAnswered = true;
      for (const { socket } of connections) socket.write(SHUT);
    }
    await delay(20);
  }
  throw new Error('QEMU did not finish its migration');
}

/** Half of its pages unlike each other, a quarter alike, a quarter zero. */
function patternBytes() {
  const bytes = Buffer.alloc(64 * 4096);
  let word = 1;
  for (let page = 0; page < 64; page += 1) {
    if (page % 4 === 3) continue;
    for (let at = 0; at < 256; at += 4) {
      word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
      bytes.writeUInt32LE(page % 4 === 2 ? at : word, page * 4096 + at);
    }
  }
  return bytes;
}

async function openQmp(path, child) {
  const socket = await connected(path, child);
  const waiting = [];
  let text = '';
  socket.setEncoding('utf8').on('data', (piece) => {
    text += piece;
    const lines = text.split('\n');
    text = lines.pop();
    for (const line of lines) {
      const message = JSON.parse(line);
      if ('return' in message || 'error' in message) waiting.shift()?.(message);
    }
  });
  socket.on('error', () => {});
  const isGone = gone(child);
  isGone.catch(() => {});
  const ask = async (execute, options = {}) => {
    const answered = new Promise((resolve) => waiting.push(resolve));
    socket.write(`${JSON.stringify({ execute, arguments: options })}\n`);
    const answer = await Promise.race([answered, isGone]);
    if (answer.error !== undefined) throw new Error(`${execute}: ${answer.error.desc}`);
    return answer.return;
  };
  await ask('qmp_capabilities');
  return { ask, close: () => socket.destroy() };
}

async function connected(path, child) {
  const giveUpMs = Date.now() + GIVE_UP_MS;
  while (Date.now() < giveUpMs && child.exitCode === null) {
    const socket = createConnection(path);
    const isOpen = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    if (isOpen) return socket;
    await delay(20);
  }
  throw new Error('QEMU made no QMP socket.');
}

function gone(child) {
  return new Promise((_, reject) => {
    if (child.exitCode !== null) return reject(new Error('QEMU is gone.'));
    child.once('exit', () => reject(new Error('QEMU is gone.')));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder, ...names] = process.argv.slice(2);
  if (folder === undefined) {
    console.error('usage: node scripts/qemu-capture.mjs FOLDER [NAME...]');
    process.exit(2);
  }
  mkdirSync(folder, { recursive: true });
  const qemu = findQemu();
  for (const name of names.length > 0 ? names : Object.keys(CAPTURES)) {
    const streams = await capture(qemu, CAPTURES[name]);
    for (const [index, bytes] of streams.entries()) {
      const packed = gzipSync(bytes, { level: 9 });
      writeFileSync(join(folder, `${name}.${index}.gz`), packed);
      console.log(`${name}.${index}: ${bytes.length} bytes, ${packed.length} packed`);
    }
  }
}
