// Builds a Linux guest: `node scripts/guests/linux.mjs [counter|kv|lab]` prints JSON {kernel, initrd, version}.
//
// Debian's stock kernel (scripts/qemu.mjs fetches it) and an initramfs that holds one static program, linux-init.cc
// (a counter on the serial port), kv-init.cc (a key-value server, with the modules of its network card) or
// lab-init.cc (one command over the host's files, with the modules of a soft-RoCE device: test/lab/rdma).
// The archive is written here, so no cpio and no busybox is needed. Nothing that is fresh is built again.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findKernel } from '../qemu.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const built = join(here, '../../build/guests');

/** Modules of the stock kernel; those that they need come with them. rxe asks for its CRC by name. */
const SOFT_ROCE = ['crc32_generic', 'ib_uverbs', 'rdma_ucm', 'rdma_rxe', 'veth', 'sch_netem'];
const HOST_FILES = ['9p', '9pnet_virtio', 'overlay'];

const GUESTS = {
  counter: { source: 'linux-init.cc', modules: [] },
  kv: { source: 'kv-init.cc', modules: ['virtio_pci', 'virtio_net'] },
  lab: {
    source: 'lab-init.cc',
    modules: ['virtio_pci', 'virtio_console', ...HOST_FILES, ...SOFT_ROCE],
    // Emulated, the kernel takes 4 of its 8 seconds to unpack itself.
    isUnpacked: true,
  },
};

/** `{kernel, initrd, version}`, paths and the kernel's version; throws with the compiler's words. */
export function buildLinuxGuest(name = 'counter') {
  const guest = GUESTS[name];
  if (guest === undefined) throw new Error(`no guest "${name}"`);
  const { kernel, version, modules } = findKernel({ isUnpacked: guest.isUnpacked === true });
  const source = join(here, guest.source);
  const inputs = [source, join(here, 'guest.h'), fileURLToPath(import.meta.url)].map((path) =>
    readFileSync(path),
  );
  const hash = [...inputs, version].reduce((sum, part) => sum.update(part), createHash('sha256'));
  // Named by its sources: fresh is what exists, and a build beside us replaces a file by its equal.
  const initrd = join(built, `linux-${name}-${hash.digest('hex').slice(0, 16)}.cpio`);
  if (!existsSync(initrd)) {
    mkdirSync(built, { recursive: true });
    const making = `${initrd}.${process.pid}`;
    const files = withNeeded(join(modules, 'kernel'), guest.modules);
    writeFileSync(making, archive(compiled(source), files));
    renameSync(making, initrd);
  }
  return { kernel, initrd, version };
}

function compiled(source) {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-linux-guest-'));
  const output = join(folder, 'init');
  const flags = ['-std=c++17', '-static', '-O2', '-s', '-Wall', '-Wextra', '-Werror'];
  try {
    const result = spawnSync('g++', [...flags, source, '-o', output], { encoding: 'utf8' });
    if (result.status !== 0) throw new Error(`g++: ${result.error?.message ?? result.stderr}`);
    return readFileSync(output);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Files of these modules, each after those that it names in its own `depends=`. */
function withNeeded(folder, names) {
  const paths = new Map(
    readdirSync(folder, { recursive: true })
      .filter((path) => path.endsWith('.ko'))
      .map((path) => [basename(path, '.ko').replaceAll('-', '_'), join(folder, path)]),
  );
  const files = new Set();
  const add = (name) => {
    const path = paths.get(name);
    if (path === undefined) throw new Error(`the kernel in ${folder} has no module ${name}`);
    const needed = /\0depends=([^\0]*)\0/.exec(readFileSync(path, 'latin1'))?.[1] ?? '';
    for (const each of needed.split(',').filter((text) => text !== '')) {
      add(each.replaceAll('-', '_'));
    }
    files.add(path);
  };
  for (const name of names) add(name);
  return [...files];
}

const NO_DEVICE = { major: 0, minor: 0 };

function archive(init, modules) {
  const names = modules.map((path) => basename(path));
  const entries = [
    entry('dev', 0o040755, NO_DEVICE, Buffer.alloc(0)),
    entry('dev/console', 0o020600, { major: 5, minor: 1 }, Buffer.alloc(0)),
    entry('init', 0o100755, NO_DEVICE, init),
    entry('modules', 0o040755, NO_DEVICE, Buffer.alloc(0)),
    entry('modules/order', 0o100644, NO_DEVICE, Buffer.from(names.join('\n'))),
    ...modules.map((path, at) =>
      entry(`modules/${names[at]}`, 0o100644, NO_DEVICE, readFileSync(path)),
    ),
    entry('TRAILER!!!', 0, NO_DEVICE, Buffer.alloc(0)),
  ];
  return padded(Buffer.concat(entries), 512);
}

let inodes = 0;

/** One member in cpio's "newc" form: 13 fields of eight hex digits, name and data each padded to four bytes. */
function entry(name, mode, device, data) {
  inodes += 1;
  const nameBytes = Buffer.from(`${name}\0`, 'latin1');
  const owner = [0, 0];
  const links = 1;
  const modified = 0;
  const onDevice = [0, 0];
  const fields = [
    ...[inodes, mode, ...owner, links, modified, data.length],
    ...[...onDevice, device.major, device.minor, nameBytes.length, 0],
  ];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  const head = Buffer.concat([Buffer.from(header, 'latin1'), nameBytes]);
  return Buffer.concat([padded(head, 4), padded(data, 4)]);
}

function padded(bytes, multiple) {
  const rest = bytes.length % multiple;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(multiple - rest)]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    console.log(JSON.stringify(buildLinuxGuest(process.argv[2])));
  } catch (error) {
    console.error(`dwcp: ${error.message}`);
    process.exit(1);
  }
}
