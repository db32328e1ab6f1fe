// Makes a checkout runnable: packages, generated wire types, addon, TypeScript. Redoes nothing that is fresh.
// Freshness is a hash of the inputs, kept in build/stamps, so that a touched but equal file costs nothing.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stamps = join(root, 'build', 'stamps');

const header = (name) => `echo '#include <${name}>' | g++ -E -x c++ - > /dev/null`;
const BUILD_TOOLS = [
  { name: 'g++' },
  { name: 'make' },
  { name: 'python3' },
  { name: 'liblz4-dev', present: header('lz4.h') },
  { name: 'libzstd-dev', present: header('zdict.h') },
];
/** Wanted, but without them the addon builds as well, and says that it has no RDMA. */
const RDMA_HEADERS = [
  { name: 'libibverbs-dev', present: header('infiniband/verbs.h') },
  { name: 'librdmacm-dev', present: header('rdma/rdma_cma.h') },
];
/** `patch` plants faults, clang fuzzes, iperf3 is a peer of the transport bench, `ip` shapes a link, `ping` measures it. */
const TEST_TOOLS = [
  { name: 'iperf3' },
  { name: 'ping', package: 'iputils-ping' },
  { name: 'patch' },
  { name: 'ip', package: 'iproute2' },
  { name: 'clang-format' },
  {
    name: 'clang',
    package: 'clang libclang-rt-14-dev',
    present: 'ls "$(clang -print-resource-dir)"/lib/*/libclang_rt.fuzzer*.a',
  },
  // The addon takes Node's own; what runs without Node needs one to link with.
  { name: 'libssl-dev', present: 'test -e /usr/include/openssl/evp.h' },
];

/** Of the lab's guest, which sees this machine's files: what unpacks its kernel, what makes and tries its device. */
const RDMA_TOOLS = [
  { name: 'xz', package: 'xz-utils' },
  { name: 'ip', package: 'iproute2' },
  { name: 'ibv_devinfo', package: 'ibverbs-utils' },
  { name: 'rping', package: 'rdmacm-utils' },
  { name: 'ib_write_bw', package: 'perftest' },
  { name: 'ibverbs-providers', present: 'ls /usr/lib/*/libibverbs/librxe-*' },
];

/** `clean` leaves nothing in dist that the compiler made of files that are gone. */
export function setUp({ tests = false, rdma = false, clean = false } = {}) {
  if (clean) rmSync(join(root, 'dist'), { recursive: true, force: true });
  ensureTools([...BUILD_TOOLS, ...(tests ? TEST_TOOLS : []), ...(rdma ? RDMA_TOOLS : [])]);
  ensureTools(RDMA_HEADERS, { mayInstall: true, mayLack: true });
  step('npm packages', ['package-lock.json'], 'node_modules', () =>
    run('npm', [
      'ci',
      '--include=dev',
      '--no-audit',
      '--no-fund',
      '--no-update-notifier',
      '--loglevel=error',
    ]),
  );
  const wireInputs = ['proto', 'package-lock.json', 'scripts/setup.mjs'];
  step('wire types', wireInputs, 'build/wire/wire.d.ts', generateWire);
  setUpNative();
  step('bench peers', ['bench/peers', 'native/memory'], 'build/peers/landing', buildPeers);
  step('lab link', ['bench/lab/link'], 'build/lab/wan-link', buildLab);
  const verbs = 'test/rdma/verbs_check.cc';
  step('verbs check', [verbs, 'native/rdma'], 'build/rdma/verbs-check', () =>
    buildVerbs(verbs, 'build/rdma/verbs-check'),
  );
  const channels = 'bench/rdma/channel_bench.cc';
  step('rdma bench', [channels, 'native/rdma'], 'build/rdma/channel-bench', () =>
    buildVerbs(channels, 'build/rdma/channel-bench'),
  );
  const compiled = ['src', 'sim', 'bench', 'test', 'examples', 'tsconfig.json', 'proto'];
  if (rdma) fetchLabGuest();
  step('TypeScript', compiled, 'dist/src', () => run(packageBin('tsc'), ['-p', '.']));
}

/** In an installed package only the addon is left to build, and a library installs nothing into the system. */
function setUpInstalled() {
  if (existsSync(join(root, 'tsconfig.json'))) return;
  ensureTools(BUILD_TOOLS, { mayInstall: false });
  setUpNative();
}

function setUpNative() {
  // With the headers of rdma-core it becomes another one.
  const rdma = RDMA_HEADERS.map(({ present }) => answers(present)).join();
  const inputs = ['native', 'package-lock.json'];
  step('native addon', inputs, 'native/build/Release/dwcp.node', () => buildAddon(), rdma);
}

function buildAddon() {
  run(packageBin('node-gyp'), ['-C', 'native', 'rebuild', '--loglevel=error', ...headers()], {
    quiet: true,
    env: { ...process.env, JOBS: 'max', MAKEFLAGS: `-j${availableParallelism()}` },
  });
}

/** The headers that came with this Node, if they did: node-gyp would fetch them from nodejs.org. */
function headers() {
  const prefix = dirname(dirname(realpathSync(process.execPath)));
  const version = join(prefix, 'include/node/node_version.h');
  if (!existsSync(version)) return [];
  const text = readFileSync(version, 'utf8');
  const number = (part) => new RegExp(`#define NODE_${part}_VERSION (\\d+)`).exec(text)?.[1];
  const found = ['MAJOR', 'MINOR', 'PATCH'].map(number).join('.');
  return found === process.versions.node ? [`--nodedir=${prefix}`] : [];
}

/** npm puts a node-gyp of its own on the path of an install script. */
function packageBin(name) {
  const own = join(root, 'node_modules/.bin', name);
  return existsSync(own) ? own : name;
}

/** The peers our benchmarks are held against; they share the kernels that touch bytes, and nothing else. */
function buildPeers() {
  mkdirSync(join(root, 'build/peers'), { recursive: true });
  const flags = ['-std=c++17', '-O3', '-Wall', '-Wextra', '-Werror', '-pthread', '-Inative'];
  const sources = ['bench/peers/landing.cc', 'native/memory/page_kernels.cc'];
  run('g++', [...flags, ...sources, '-o', 'build/peers/landing']);
}

/** The link between two network namespaces that stands for a WAN. */
function buildLab() {
  mkdirSync(join(root, 'build/lab'), { recursive: true });
  const sources = readdirSync(join(root, 'bench/lab/link'))
    .filter((name) => name.endsWith('.cc'))
    .map((name) => join('bench/lab/link', name));
  const flags = ['-std=c++17', '-O2', '-Wall', '-Wextra', '-Werror', '-pthread'];
  run('g++', [...flags, ...sources, '-o', 'build/lab/wan-link']);
}

/** What boots the RDMA lab's guest; each script fetches or builds what is not there yet, and says so. */
function fetchLabGuest() {
  for (const words of [['scripts/qemu.mjs'], ['scripts/guests/linux.mjs', 'lab']]) {
    const { status } = spawnSync(process.execPath, words, {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    if (status !== 0) process.exit(1);
  }
}

/** Real queue pairs between processes, without Node; run where there is an RDMA device. */
function buildVerbs(program, binary) {
  mkdirSync(join(root, 'build/rdma'), { recursive: true });
  const sources = readdirSync(join(root, 'native/rdma'))
    .filter((name) => name.endsWith('.cc'))
    .map((name) => join('native/rdma', name));
  const flags = ['-std=c++17', '-O2', '-Wall', '-Wextra', '-Werror', '-pthread', '-Inative'];
  run('g++', [...flags, program, ...sources, '-o', binary]);
}

function generateWire() {
  mkdirSync(join(root, 'build/wire'), { recursive: true });
  const protos = readdirSync(join(root, 'proto'))
    .filter((name) => name.endsWith('.proto'))
    .map((name) => join('proto', name));
  const flags = ['--force-number', '--no-create', '--no-verify', '--no-delimited', '--no-service'];
  run(packageBin('pbjs'), [
    ...['-t', 'static-module', '-w', 'es6', '--es6', '-p', 'proto'],
    ...[...flags, '-o', 'build/wire/wire.js', ...protos],
  ]);
  // 64-bit fields are numbers at run time too: --force-number alone changes only the types.
  const wire = readFileSync(join(root, 'build/wire/wire.js'), 'utf8');
  const load = 'import $protobuf from "protobufjs/minimal.js";';
  if (!wire.includes(load)) throw new Error('pbjs no longer writes the import that we extend');
  const numbers = `${load}\n$protobuf.util.Long = null;\n$protobuf.configure();`;
  writeFileSync(
    join(root, 'build/wire/wire.js'),
    wire.replace(load, () => numbers),
  );
  run(packageBin('pbts'), ['-o', 'build/wire/wire.d.ts', 'build/wire/wire.js']);
}

/**
 * Installed when we may; when not, the exact line to run is printed. What a tool needs beyond a command of
 * its name stands in `present`.
 */
function ensureTools(tools, { mayInstall, mayLack = false } = { mayInstall: true }) {
  const missing = tools.filter(({ name, present }) => !answers(present ?? `command -v ${name}`));
  if (missing.length === 0) return;
  const names = missing.map(({ name }) => name).join(', ');
  const packages = missing.map((tool) => tool.package ?? tool.name).join(' ');
  const install = `DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${packages}`;
  const line = `apt-get update && ${install}`;
  const isRoot = process.getuid?.() === 0;
  const can = answers('command -v apt-get') && (isRoot || answers('sudo -n true'));
  if (!(mayInstall && can)) {
    if (mayLack) return;
    console.error(`dwcp needs ${names}. On Debian run: sudo sh -c '${line}'`);
    process.exit(1);
  }
  console.error(`dwcp setup: system packages ${packages}`);
  const [command, ...sudo] = isRoot ? ['/bin/sh'] : ['sudo', '-n', '/bin/sh'];
  if (mayLack) spawnSync(command, [...sudo, '-c', line], { stdio: 'ignore' });
  else run(command, [...sudo, '-c', line], { quiet: true });
}

function answers(line) {
  return spawnSync('/bin/sh', ['-c', line], { stdio: 'ignore' }).status === 0;
}

function step(name, inputs, output, build, besides = '') {
  const hash = hashInputs(inputs) + besides;
  const stamp = join(stamps, name.replaceAll(' ', '-'));
  const fresh =
    existsSync(join(root, output)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash;
  if (fresh) return;
  console.error(`dwcp setup: ${name}`);
  build();
  mkdirSync(stamps, { recursive: true });
  writeFileSync(stamp, hash);
}

/** Not the addon's: what node-gyp writes between the sources (every first build would look stale), and the fuzzers. */
const BESIDE_ADDON = new Set(['native/build', 'native/node_modules', 'native/fuzz']);

function hashInputs(inputs) {
  const hash = createHash('sha256').update(process.version);
  const visit = (path) => {
    if (!existsSync(path)) return;
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort()) {
        if (!BESIDE_ADDON.has(relative(root, join(path, name)))) visit(join(path, name));
      }
    } else {
      hash.update(path.slice(root.length)).update('\0').update(readFileSync(path));
    }
  };
  for (const input of inputs) visit(join(root, input));
  return hash.digest('hex');
}

function run(command, args, { quiet = false, env = process.env } = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    env,
    encoding: 'utf8',
    stdio: ['ignore', quiet ? 'pipe' : 2, quiet ? 'pipe' : 2],
  });
  if (result.status === 0) return;
  if (quiet) process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`);
  console.error(`dwcp setup: "${command} ${args.join(' ')}" failed`);
  process.exit(1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--installed')) setUpInstalled();
  else {
    const [tests, rdma, clean] = ['--tests', '--rdma', '--clean'].map((flag) =>
      process.argv.includes(flag),
    );
    setUp({ tests, rdma, clean });
  }
}
