// Finds a QEMU that can live-migrate on this machine, or fetches one; prints JSON {binary, version, env, args}.
//
//   node scripts/qemu.mjs            the QEMU
//   node scripts/qemu.mjs --present  the one that is here already, or null
//   node scripts/qemu.mjs --kernel   a Linux kernel for the Linux guest: JSON {kernel, version, modules}
//
// Without KVM a guest runs under TCG, and QEMU 7.2 (Debian 12) then leaves most migrated guests dead, with or
// without dwcp. So QEMU 10 is taken from backports into a cache of our own: private package lists, `apt-get -d`,
// `dpkg-deb -x`. Nothing of the system is changed and no root is needed.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MINIMUM_MAJOR = 9;
const QEMU_HINT = `Install qemu-system-x86_64 ${MINIMUM_MAJOR} or newer, or name it in DWCP_QEMU.`;
const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'dwcp');
const apt = join(cache, 'apt');

/** `{binary, version, env, args}`; throws with the reason and what to do. `args` go first on the command line. */
export function findQemu() {
  const present = presentQemu();
  if (present !== null && (process.env.DWCP_QEMU || isRecent(present))) return present;
  const needed = ['qemu-system-x86', 'qemu-system-data', 'seabios'];
  return unpackedQemu(fetched('qemu', 'qemu-system-x86', needed, QEMU_HINT));
}

/** The best that is here already, `null` when none is: what DWCP_QEMU names, a recent one, then any. */
export function presentQemu() {
  if (process.env.DWCP_QEMU) return described(process.env.DWCP_QEMU, {}, []);
  const onPath = spawnSync('sh', ['-c', 'command -v qemu-system-x86_64'], { encoding: 'utf8' });
  const installed = onPath.status === 0 ? described(onPath.stdout.trim(), {}, []) : null;
  if (installed !== null && isRecent(installed)) return installed;
  const tree = join(cache, 'qemu');
  return existsSync(join(tree, 'complete')) ? unpackedQemu(tree) : installed;
}

function isRecent({ version }) {
  return Number.parseInt(version, 10) >= MINIMUM_MAJOR;
}

function unpackedQemu(tree) {
  const libraries = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu']
    .flatMap((path) => [join(tree, path), ...foldersOf(join(tree, path))])
    .filter((path) => existsSync(path));
  const data = ['usr/share/qemu', 'usr/share/seabios'].map((path) => join(tree, path));
  return described(
    join(tree, 'usr/bin/qemu-system-x86_64'),
    { LD_LIBRARY_PATH: libraries.join(':') },
    data.flatMap((path) => ['-L', path]),
  );
}

/**
 * `{kernel, version, modules}` of Debian's stock 6.1 kernel image; `modules` is a folder. `isUnpacked` takes the
 * kernel out of its self-extracting file, which needs xz.
 */
export function findKernel({ isUnpacked = false } = {}) {
  const tree = fetched('kernel', 'linux-image-amd64', [], QEMU_HINT);
  const boot = join(tree, 'boot');
  const name = readdirSync(boot).find((file) => file.startsWith('vmlinuz-'));
  if (name === undefined)
    throw new Error(`no kernel image in ${boot}; remove ${tree} and try again`);
  const version = name.slice('vmlinuz-'.length);
  const kernel = isUnpacked ? unpackedKernel(boot, version) : join(boot, name);
  return { kernel, version, modules: join(tree, 'lib/modules', version) };
}

/** Where the packed kernel begins and how long it is stands in the boot protocol's header. */
function unpackedKernel(boot, version) {
  const kernel = join(boot, `vmlinux-${version}`);
  if (existsSync(kernel)) return kernel;
  const packed = readFileSync(join(boot, `vmlinuz-${version}`));
  const setupBytes = 512 * (packed.readUInt8(0x1f1) + 1);
  const from = setupBytes + packed.readUInt32LE(0x248);
  // Behind the archive come 4 bytes: how long its content is.
  const input = packed.subarray(from, from + packed.readUInt32LE(0x24c) - 4);
  const result = spawnSync('xz', ['-dc'], { input, maxBuffer: 1 << 28 });
  if (result.status !== 0) {
    throw new Error(`xz: ${result.error?.message ?? result.stderr}\napt-get install -y xz-utils`);
  }
  const making = `${kernel}.${process.pid}`;
  writeFileSync(making, result.stdout);
  renameSync(making, kernel);
  return kernel;
}

function described(binary, env, args) {
  const run = spawnSync(binary, ['--version'], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  const version = /version ([0-9.]+)/.exec(run.stdout ?? '')?.[1];
  if (version === undefined) {
    throw new Error(`${binary} does not run: ${run.error?.message ?? run.stderr}`);
  }
  return { binary, version, env, args };
}

/**
 * The unpacked tree of a package and of all that it needs and the machine lacks. Made once, then moved in
 * place. Throws with the reason and `hint`.
 */
export function fetched(name, wanted, needed, hint) {
  try {
    return madeOnce(name, wanted, needed);
  } catch (error) {
    throw new Error(`${error.message}\n${hint}`);
  }
}

function madeOnce(name, wanted, needed) {
  const tree = join(cache, name);
  if (existsSync(join(tree, 'complete'))) return tree;
  return locked(() => {
    if (existsSync(join(tree, 'complete'))) return tree;
    console.error(`dwcp: fetching ${wanted} into ${cache} (once)`);
    updateLists();
    const archives = join(cache, `${name}-archives`);
    mkdirSync(join(archives, 'partial'), { recursive: true });
    const release = name === 'qemu' ? ['-t', `${codename()}-backports`] : [];
    aptGet([
      ...['-o', `Dir::Cache::archives=${archives}/`, '-y', '-d', '--no-install-recommends'],
      ...[
        ...release,
        '--reinstall',
        'install',
        wanted,
        ...needed.filter((item) => item !== wanted),
      ],
    ]);
    const unpacking = `${tree}.${process.pid}`;
    mkdirSync(unpacking, { recursive: true });
    for (const file of readdirSync(archives).filter((item) => item.endsWith('.deb'))) {
      run('dpkg-deb', ['-x', join(archives, file), unpacking]);
    }
    writeFileSync(join(unpacking, 'complete'), '');
    rmSync(tree, { recursive: true, force: true });
    renameSync(unpacking, tree);
    rmSync(archives, { recursive: true, force: true });
    return tree;
  });
}

function updateLists() {
  mkdirSync(join(apt, 'lists/partial'), { recursive: true });
  mkdirSync(join(apt, 'cache'), { recursive: true });
  const suites = [codename(), `${codename()}-updates`, `${codename()}-backports`];
  const line = (uri, suite) =>
    `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${uri} ${suite} main\n`;
  const lines = suites.map((suite) => line('http://deb.debian.org/debian', suite));
  lines.push(line('http://deb.debian.org/debian-security', `${codename()}-security`));
  writeFileSync(join(apt, 'sources.list'), lines.join(''));
  aptGet(['update']);
}

function aptGet(args) {
  const settings = {
    'Dir::Etc::sourcelist': join(apt, 'sources.list'),
    'Dir::Etc::sourceparts': '-',
    'Dir::State::lists': join(apt, 'lists'),
    'Dir::State::extended_states': join(apt, 'extended_states'),
    'Dir::Cache': join(apt, 'cache'),
    'Debug::NoLocking': '1',
    'APT::Sandbox::User': '',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '2',
    'Acquire::http::Timeout': '30',
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  run('apt-get', ['-q', ...options, ...args]);
}

function codename() {
  const name = /^VERSION_CODENAME=(\w+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  if (name === 'bookworm') return name;
  throw new Error('it is not on this machine, and only Debian 12 is known here to fetch it from');
}

/** One fetch at a time for all processes of this user; a holder that died is noticed by its pid. */
function locked(work) {
  mkdirSync(cache, { recursive: true });
  const lock = join(cache, 'lock');
  const giveUpAtMs = Date.now() + 600_000;
  for (;;) {
    try {
      writeFileSync(lock, `${process.pid}`, { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      if (!isHeld(lock)) rmSync(lock, { force: true });
      else if (Date.now() > giveUpAtMs) throw new Error(`${lock} is held by another process`);
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    }
  }
  try {
    return work();
  } finally {
    rmSync(lock, { force: true });
  }
}

function isHeld(lock) {
  try {
    const holder = Number(readFileSync(lock, 'utf8'));
    return holder === 0 || existsSync(`/proc/${holder}`);
  } catch {
    return false;
  }
}

function run(command, args) {
  const result = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: 600_000,
    maxBuffer: 1 << 26,
  });
  if (result.status === 0) return;
  const said = `${result.error?.message ?? ''}${result.stderr ?? ''}`.trim().slice(-800);
  throw new Error(`${command} failed: ${said}`);
}

function foldersOf(path) {
  if (!existsSync(path)) return [];
  const entries = readdirSync(path, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(path, entry.name));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const find =
      { '--kernel': () => findKernel(), '--present': presentQemu }[process.argv[2]] ?? findQemu;
    console.log(JSON.stringify(find()));
  } catch (error) {
    console.error(`dwcp: ${error.message}`);
    process.exit(1);
  }
}
