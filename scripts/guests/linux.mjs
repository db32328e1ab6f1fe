// Builds the Linux guest: `node scripts/guests/linux.mjs` prints JSON {kernel, initrd, version}.
//
// Debian's stock kernel (scripts/qemu.mjs fetches it) and an initramfs that holds one static program, linux-init.cc.
// The archive is written here, so no cpio and no busybox is needed. Nothing that is fresh is built again.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findKernel } from '../qemu.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, 'linux-init.cc');
const built = join(here, '../../build/guests');

/** `{kernel, initrd, version}`, paths and the kernel's version; throws with the compiler's words. */
export function buildLinuxGuest() {
  const { kernel, version } = findKernel();
  const inputs = [source, fileURLToPath(import.meta.url)].map((path) => readFileSync(path));
  const hash = inputs.reduce((sum, bytes) => sum.update(bytes), createHash('sha256')).digest('hex');
  // Named by its sources: fresh is what exists, and a build beside us replaces a file by its equal.
  const initrd = join(built, `linux-${hash.slice(0, 16)}.cpio`);
  if (!existsSync(initrd)) {
    mkdirSync(built, { recursive: true });
    const making = `${initrd}.${process.pid}`;
    writeFileSync(making, archive(compiled()));
    renameSync(making, initrd);
  }
  return { kernel, initrd, version };
}

function compiled() {
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

const NO_DEVICE = { major: 0, minor: 0 };

function archive(init) {
  const entries = [
    entry('dev', 0o040755, NO_DEVICE, Buffer.alloc(0)),
    entry('dev/console', 0o020600, { major: 5, minor: 1 }, Buffer.alloc(0)),
    entry('init', 0o100755, NO_DEVICE, init),
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
    console.log(JSON.stringify(buildLinuxGuest()));
  } catch (error) {
    console.error(`dwcp: ${error.message}`);
    process.exit(1);
  }
}
