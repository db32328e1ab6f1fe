// Finds etcd, the peer of the consensus benches, or fetches Debian's into a cache of our own as qemu.mjs does;
// prints JSON {binary, version}. Nothing is installed: Debian's package would start a daemon.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetched } from './qemu.mjs';

const HINT = 'Name an etcd 3.4 in DWCP_ETCD.';

export function findEtcd() {
  const named = process.env.DWCP_ETCD;
  if (named) return described(named);
  const onPath = spawnSync('sh', ['-c', 'command -v etcd'], { encoding: 'utf8' });
  if (onPath.status === 0) return described(onPath.stdout.trim());
  return described(join(fetched('etcd', 'etcd-server', [], HINT), 'usr/bin/etcd'));
}

function described(binary) {
  const run = spawnSync(binary, ['--version'], { encoding: 'utf8' });
  const version = /etcd Version: ([0-9.]+)/.exec(run.stdout ?? '')?.[1];
  if (version !== undefined) return { binary, version };
  throw new Error(`${binary} does not run: ${run.error?.message ?? run.stderr}\n${HINT}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    console.log(JSON.stringify(findEtcd()));
  } catch (error) {
    console.error(`dwcp: ${error.message}`);
    process.exit(1);
  }
}
