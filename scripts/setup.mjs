// Makes a checkout runnable: packages, generated wire types, addon, TypeScript. Redoes nothing that is fresh.
// Freshness is a hash of the inputs, kept in build/stamps, so that a touched but equal file costs nothing.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stamps = join(root, 'build', 'stamps');

export function setUp({ tests = false } = {}) {
  ensureTools(['g++', 'make', 'python3']);
  if (tests) ensureTools(['iperf3', 'clang', 'clang-format']);
  step('npm packages', ['package-lock.json'], 'node_modules', () =>
    run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']),
  );
  const wireInputs = ['proto', 'package-lock.json', 'scripts/setup.mjs'];
  step('wire types', wireInputs, 'build/wire/wire.d.ts', generateWire);
  step('native addon', ['native', 'package-lock.json'], 'native/build/Release/dwcp.node', () =>
    run('npx', ['--no-install', 'node-gyp', '-C', 'native', 'rebuild', '--loglevel=error'], {
      quiet: true,
      env: { ...process.env, JOBS: 'max', MAKEFLAGS: `-j${2}` },
    }),
  );
  if (
    existsSync(join(root, 'bench/peers/landing.cc')) &&
    existsSync(join(root, 'native/memory/page_kernels.cc'))
  ) {
    step('bench peers', ['bench/peers', 'native/memory'], 'build/peers/landing', buildPeers);
  }
  step('TypeScript', ['src', 'sim', 'bench', 'test', 'tsconfig.json', 'proto'], 'dist/src', () =>
    run('npx', ['--no-install', 'tsc', '-p', '.']),
  );
}

/** The peers our benchmarks are held against; they share the kernels that touch bytes, and nothing else. */
function buildPeers() {
  mkdirSync(join(root, 'build/peers'), { recursive: true });
  const flags = ['-std=c++17', '-O3', '-Wall', '-Wextra', '-Werror', '-pthread', '-Inative'];
  const sources = ['bench/peers/landing.cc', 'native/memory/page_kernels.cc'];
  run('g++', [...flags, ...sources, '-o', 'build/peers/landing']);
}

function generateWire() {
  mkdirSync(join(root, 'build/wire'), { recursive: true });
  const protos = readdirSync(join(root, 'proto'))
    .filter((name) => name.endsWith('.proto'))
    .map((name) => join('proto', name));
  const flags = ['--force-number', '--no-create', '--no-verify', '--no-delimited', '--no-service'];
  run('npx', [
    ...['--no-install', 'pbjs', '-t', 'static-module', '-w', 'es6', '--es6', '-p', 'proto'],
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
  run('npx', ['--no-install', 'pbts', '-o', 'build/wire/wire.d.ts', 'build/wire/wire.js']);
}

/** apt packages that hold a command, installed when we may, named with the exact line when not. */
const PACKAGE_OF = {
  'g++': 'g++',
  make: 'make',
  python3: 'python3',
  iperf3: 'iperf3',
  clang: 'clang libclang-rt-14-dev',
  'clang-format': 'clang-format',
};

function ensureTools(commands) {
  const missing = commands.filter(
    (name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0,
  );
  if (missing.length === 0) return;
  const packages = missing.map((name) => PACKAGE_OF[name]);
  const isRoot = process.getuid?.() === 0;
  const sudo = isRoot ? [] : ['sudo', '-n'];
  const line = `apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  const allowed = isRoot || spawnSync('sudo', ['-n', 'true']).status === 0;
  if (!allowed) {
    console.error(`dwcp needs ${missing.join(', ')}. Run: sudo sh -c '${line}'`);
    process.exit(1);
  }
  run(...splitCommand([...sudo, 'sh', '-c', line]), { quiet: true });
}

function splitCommand([command, ...args]) {
  return [command, args];
}

function step(name, inputs, output, build) {
  const hash = hashInputs(inputs);
  const stamp = join(stamps, name.replaceAll(' ', '-'));
  const fresh =
    existsSync(join(root, output)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash;
  if (fresh) return;
  console.error(`dwcp setup: ${name}`);
  build();
  mkdirSync(stamps, { recursive: true });
  writeFileSync(stamp, hash);
}

function hashInputs(inputs) {
  const hash = createHash('sha256').update(process.version);
  const visit = (path) => {
    if (!existsSync(path)) return;
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort()) {
        if (!(name === 'build' && path.endsWith('native'))) visit(join(path, name));
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
  setUp({ tests: process.argv.includes('--tests') });
}
