// Builds the engine and its fuzzers with sanitizers and runs them for a bounded time each.
// Usage: node scripts/sanitize.mjs [--seconds N] [NAME-PART...]
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { setUp } from './setup.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = join(root, 'build/sanitize');
const options = process.argv.slice(2);
const secondsAt = options.indexOf('--seconds');
const seconds = secondsAt < 0 ? null : Number(options.splice(secondsAt, 2)[1]);

const flags = ['-std=c++17', '-g', '-O1', '-fno-omit-frame-pointer', '-Wall', '-Wextra', '-Werror'];
const common = [...flags, '-fno-sanitize-recover=all', '-pthread', '-Inative'];
const codec = sources('native/codec');
const memory = sources('native/memory');
const cache = [...sources('native/cache'), ...sources('native/crypto')];
const rdma = sources('native/rdma');
const engine = [...sources('native/engine'), ...rdma, ...cache, ...memory, ...codec];
const qemu = ['multifd_parser', 'stream_parser', 'stream_writer', 'token_reader'].map(
  (name) => `native/qemu/${name}.cc`,
);
const relay = [
  ...[...qemu, ...['relay', 'source', 'target'].map((name) => `native/qemu/${name}.cc`)],
  ...['native/engine/local_socket.cc', ...memory],
];

/** `-fsanitize=fuzzer` brings its own main; an artifact of a crash is kept beside the binary. */
const runs = [
  {
    name: 'frame_fuzz',
    sanitize: 'fuzzer,address,undefined',
    files: ['native/fuzz/frame_fuzz.cc', 'native/engine/frame.cc', 'native/memory/page_kernels.cc'],
    seconds: 20,
    args: (time) => [`-max_total_time=${time}`, '-max_len=40000', `-artifact_prefix=${out}/`],
  },
  {
    name: 'link_core_fuzz',
    sanitize: 'fuzzer,address,undefined',
    files: ['native/fuzz/link_core_fuzz.cc', 'native/engine/link_core.cc'],
    seconds: 10,
    args: (time) => [`-max_total_time=${time}`, '-max_len=4096', `-artifact_prefix=${out}/`],
  },
  {
    name: 'ring_window_fuzz',
    sanitize: 'fuzzer,address,undefined',
    files: ['native/fuzz/ring_window_fuzz.cc'],
    seconds: 10,
    args: (time) => [`-max_total_time=${time}`, '-max_len=4096', `-artifact_prefix=${out}/`],
  },
  {
    name: 'qemu_stream_fuzz',
    sanitize: 'fuzzer,address,undefined',
    files: ['native/fuzz/qemu_stream_fuzz.cc', ...qemu],
    seconds: 20,
    args: (time) => {
      // What a real QEMU wrote is where its mutations begin.
      const corpus = join(out, 'qemu-corpus');
      unpackStreams(corpus);
      return [`-max_total_time=${time}`, '-max_len=60000', `-artifact_prefix=${out}/`, corpus];
    },
  },
  ...[
    ['qemu_relay_faults', 'address,undefined'],
    ['qemu_relay_races', 'thread'],
  ].map(([name, sanitize]) => ({
    ...{ name, sanitize, files: ['native/fuzz/qemu_relay_faults.cc', ...relay] },
    seconds: 10,
    args: (time) => [String(time)],
  })),
  {
    name: 'codec_fuzz',
    sanitize: 'fuzzer,address,undefined',
    files: ['native/fuzz/codec_fuzz.cc', 'native/engine/frame.cc', ...codec, ...memory],
    seconds: 20,
    args: (time) => [`-max_total_time=${time}`, '-max_len=40000', `-artifact_prefix=${out}/`],
  },
  {
    name: 'cache_fuzz',
    sanitize: 'fuzzer,address,undefined',
    files: ['native/fuzz/cache_fuzz.cc', 'native/engine/content_exchange.cc', ...cache, ...memory],
    seconds: 10,
    args: (time) => [`-max_total_time=${time}`, '-max_len=4096', `-artifact_prefix=${out}/`],
  },
  {
    name: 'codec_property',
    sanitize: 'address,undefined',
    files: ['native/fuzz/codec_property.cc', 'native/engine/frame.cc', ...codec, ...memory],
    seconds: 10,
    args: (time) => [String(time)],
  },
  {
    name: 'engine_faults',
    sanitize: 'address,undefined',
    files: ['native/fuzz/engine_faults.cc', ...engine],
    seconds: 15,
    args: (time) => [String(time)],
  },
  {
    name: 'engine_races',
    sanitize: 'thread',
    files: ['native/fuzz/engine_faults.cc', ...engine],
    seconds: 15,
    args: (time) => [String(time)],
  },
];

setUp({ tests: true });
const wanted = runs.filter(
  ({ name }) => options.length === 0 || options.some((part) => name.includes(part)),
);
if (wanted.length === 0) {
  console.error(`nothing to sanitize matches ${options.join(' ')}`);
  process.exit(1);
}
let failed = 0;
for (const run of wanted) {
  const binary = await build(run);
  const time = seconds ?? run.seconds;
  let { status, stdout, stderr } = start(binary, run.args(time), time);
  // This compiler's thread sanitizer cannot live with as much randomness as some kernels put in addresses.
  if (/unexpected memory mapping/.test(stderr)) {
    ({ status, stdout, stderr } = start('setarch', ['-R', binary, ...run.args(time)], time));
  }
  const last = `${stdout}${stderr}`.trim().split('\n');
  const passed = status === 0;
  if (!passed) {
    failed += 1;
    console.error(last.slice(-80).join('\n'));
  }
  const summary = last.findLast((line) => /^Done|rounds=/.test(line)) ?? `status ${status}`;
  console.log(`sanitize: ${run.name} (${run.sanitize}) ${passed ? 'clean' : 'FAILED'}: ${summary}`);
}
process.exit(failed === 0 ? 0 : 1);

function start(command, args, time) {
  return spawnSync(command, args, {
    cwd: out,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    timeout: (time + 60) * 1000,
    env: { ...process.env, ASAN_OPTIONS: 'abort_on_error=1', UBSAN_OPTIONS: 'print_stacktrace=1' },
  });
}

/** One piece length for all: a byte before each stream says how it is cut, and which of the two kinds it is. */
function unpackStreams(corpus) {
  const folder = join(root, 'test/native/qemu-streams');
  mkdirSync(corpus, { recursive: true });
  for (const name of readdirSync(folder)) {
    const bytes = gunzipSync(readFileSync(join(folder, name)));
    const isMain = bytes.subarray(0, 4).toString('latin1') === 'QEVM';
    const how = Buffer.from([isMain ? 0x11 : 0x91]);
    writeFileSync(join(corpus, name), Buffer.concat([how, bytes.subarray(0, 50_000)]));
  }
}

function sources(folder) {
  return readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.cc'))
    .map((name) => join(folder, name));
}

/** Objects in parallel, then one link. */
async function build({ name, sanitize, files }) {
  mkdirSync(out, { recursive: true });
  const objects = mkdtempSync(join(tmpdir(), 'dwcp-sanitize-'));
  const binary = join(out, name);
  const objectOf = (file) => join(objects, `${basename(file)}.o`);
  const waiting = [...files];
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      await compile([`-fsanitize=${sanitize}`, '-c', file, '-o', objectOf(file)]);
    }
  };
  try {
    await Promise.all(Array.from({ length: availableParallelism() }, worker));
    const libraries = ['-llz4', '-lzstd', '-lcrypto'];
    const link = [...files.map(objectOf), ...libraries, '-o', binary];
    await compile([`-fsanitize=${sanitize}`, ...link]);
  } finally {
    rmSync(objects, { recursive: true });
  }
  return binary;
}

function compile(args) {
  return new Promise((resolve, reject) => {
    const child = spawn('clang++', [...common, ...args], { cwd: root, stdio: 'inherit' });
    child.on('error', reject);
    child.on('close', (status) => {
      if (status === 0) resolve();
      else reject(new Error(`clang++ ${args.join(' ')} ended with ${status}`));
    });
  });
}
