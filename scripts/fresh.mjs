// Proves that nobody has to install anything by hand: makes a bare Debian 12 that has Node and nothing else,
// puts a clone of HEAD into it and runs .ci/run there. Needs root; the Debian is fetched once.
//
//   node scripts/fresh.mjs                       .ci/run, then the root is removed
//   node scripts/fresh.mjs --keep COMMAND...     another command, and the root stays (its path is printed)
//   node scripts/fresh.mjs --in ROOT COMMAND...  a further command in a root that stayed
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MIRROR = 'http://deb.debian.org/debian';
const checkout = dirname(dirname(fileURLToPath(import.meta.url)));
const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'dwcp');
const prefix = dirname(dirname(realpathSync(process.execPath)));
const startedMs = Date.now();

if (process.getuid?.() !== 0) fail('a root of its own needs root: run it with sudo');
const argv = process.argv.slice(2);
const keep = argv[0] === '--keep' || argv[0] === '--in';
const root = argv[0] === '--in' ? argv[1] : freshRoot();
const command = argv.slice({ '--keep': 1, '--in': 2 }[argv[0]] ?? 0).join(' ') || '.ci/run';
let status = 1;
try {
  status = runIn(root, command);
} finally {
  if (!keep) rmSync(root, { recursive: true, force: true });
}
const took = `${Math.round((Date.now() - startedMs) / 1000)} s`;
say(`${status === 0 ? 'passed' : 'FAILED'} in ${took}: ${command}${keep ? ` in ${root}` : ''}`);
process.exit(status);

/** A copy of the bare Debian, with this Node, this network and a clone of HEAD. */
function freshRoot() {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-fresh-'));
  must('cp', ['-a', `${bareDebian()}/.`, folder]);
  for (const part of ['bin/node', 'include/node', 'lib/node_modules/npm']) {
    cpSync(join(prefix, part), join(folder, prefix, part), { recursive: true });
  }
  for (const name of ['npm', 'npx']) {
    must('ln', [
      '-sf',
      `../lib/node_modules/npm/bin/${name}-cli.js`,
      join(folder, prefix, 'bin', name),
    ]);
  }
  // How this machine reaches the network, and whom it trusts there.
  for (const path of ['/etc/resolv.conf', '/etc/hosts', '/etc/ssl/certs/ca-certificates.crt']) {
    if (existsSync(path)) cpSync(realpathSync(path), join(folder, path));
  }
  const acquire = spawnSync('apt-config', ['dump', 'Acquire'], { encoding: 'utf8' }).stdout;
  writeFileSync(join(folder, 'etc/apt/apt.conf.d/90host'), acquire);
  must('git', ['clone', '-q', '--no-hardlinks', checkout, join(folder, 'root/dwcp')]);
  return folder;
}

/** Debian's minimal base, nothing else; made once, moved in place whole. */
function bareDebian() {
  const base = join(cache, 'bookworm');
  if (existsSync(base)) return base;
  if (spawnSync('debootstrap', ['--version']).status !== 0) {
    fail('debootstrap is not installed. Run: apt-get install -y debootstrap');
  }
  say(`fetching a bare Debian 12 into ${base} (once)`);
  const making = `${base}.${process.pid}`;
  mkdirSync(making, { recursive: true });
  must('debootstrap', ['--variant=minbase', 'bookworm', making, MIRROR]);
  const security = `deb ${MIRROR}-security bookworm-security main\n`;
  const updates = `deb ${MIRROR} bookworm-updates main\n`;
  const list = join(making, 'etc/apt/sources.list');
  writeFileSync(list, readFileSync(list, 'utf8') + updates + security);
  renameSync(making, base);
  return base;
}

/** In name spaces of its own, so that no mount and no process outlives the run. */
function runIn(folder, line) {
  mkdirSync(join(folder, 'etc/ssl/certs'), { recursive: true });
  const mounts = [
    // A mount point of its own, as the root of a machine is: tests make mount name spaces there.
    'mount --bind "$0" "$0"',
    'cd "$0"',
    'mount -t proc proc "$0/proc"',
    'mount --rbind /sys "$0/sys"',
    'mount --rbind /dev "$0/dev"',
    'mount -t tmpfs tmpfs "$0/run"',
    'exec chroot "$0" sh -c "cd /root/dwcp && $1"',
  ];
  const kept = Object.keys(process.env).filter((name) => /_proxy$/i.test(name));
  const inherited = Object.fromEntries(kept.map((name) => [name, process.env[name]]));
  const authorities = '/etc/ssl/certs/ca-certificates.crt';
  const run = spawnSync(
    'unshare',
    ['--mount', '--pid', '--fork', '--kill-child', 'sh', '-ec', mounts.join('\n'), folder, line],
    {
      stdio: 'inherit',
      env: {
        ...inherited,
        HOME: '/root',
        PATH: `${prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
        ...(existsSync(authorities)
          ? { NODE_EXTRA_CA_CERTS: authorities, NPM_CONFIG_CAFILE: authorities }
          : {}),
      },
    },
  );
  return run.status ?? 1;
}

function must(program, args) {
  const run = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (run.status !== 0) {
    fail(`${program} failed: ${run.error?.message ?? (run.stderr || run.stdout).slice(-800)}`);
  }
}

function say(text) {
  console.error(`dwcp fresh: ${text}`);
}

function fail(reason) {
  say(reason);
  process.exit(1);
}
