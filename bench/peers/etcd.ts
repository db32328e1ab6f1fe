/**
 * etcd 3.4, the peer of the consensus benches: three processes on this machine that keep their data beside
 * ours. Timing as near to ours as it lets itself be set: an election time-out of 300 ms is drawn by etcd
 * from 300 to 600. Its traffic is plain TCP, ours is TLS.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePorts } from '../../src/cli/demo/free-ports.ts';
import { assert } from '../../src/util/assert.ts';
import { DwcpError } from '../../src/util/errors.ts';
import { checkout } from '../harness.ts';
import { KvClient } from '../kv-client.ts';
import { allKeys, operationOf } from '../kv-load.ts';

const MEMBERS = 3;
const READY_WITHIN_MS = 30_000;
const HEARTBEAT_MS = 50;
const ELECTION_MS = 300;

export class EtcdGroup {
  readonly name: string;
  readonly #processes: readonly ChildProcess[];
  readonly #clients: readonly KvClient[];
  readonly #addresses: readonly string[];

  private constructor(
    name: string,
    processes: readonly ChildProcess[],
    addresses: readonly string[],
  ) {
    this.name = name;
    this.#processes = processes;
    this.#addresses = addresses;
    this.#clients = addresses.map((address) => new KvClient(address));
  }

  static async start(folder: string): Promise<EtcdGroup> {
    const { binary, version } = findEtcd();
    const ports = await freePorts(2 * MEMBERS);
    const members = Array.from({ length: MEMBERS }, (_, index) => ({
      name: `etcd-${index}`,
      peer: `http://127.0.0.1:${ports[2 * index]}`,
      client: `127.0.0.1:${ports[2 * index + 1]}`,
    }));
    const cluster = members.map(({ name, peer }) => `${name}=${peer}`).join(',');
    const timing = [
      '--heartbeat-interval',
      `${HEARTBEAT_MS}`,
      '--election-timeout',
      `${ELECTION_MS}`,
    ];
    mkdirSync(folder, { recursive: true });
    const processes = members.map(({ name, peer, client }) =>
      spawn(
        binary,
        [
          ...['--name', name, '--data-dir', join(folder, name), ...timing],
          ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
          ...['--listen-client-urls', `http://${client}`],
          ...['--advertise-client-urls', `http://${client}`],
          ...['--initial-cluster', cluster, '--initial-cluster-state', 'new'],
          ...['--logger', 'zap', '--log-level', 'error', '--max-request-bytes', '10485760'],
        ],
        { stdio: ['ignore', 'ignore', 2] },
      ),
    );
    const name = `etcd ${version}, ${MEMBERS} processes, ${timing.join(' ')}`;
    const group = new EtcdGroup(
      name,
      processes,
      members.map(({ client }) => client),
    );
    try {
      await group.leaderAddress();
      return group;
    } catch (error) {
      group.stop();
      throw error;
    }
  }

  /** Where a client has the shortest way. */
  async leaderAddress(): Promise<string> {
    const untilMs = performance.now() + READY_WITHIN_MS;
    while (performance.now() < untilMs) {
      for (const [index, client] of this.#clients.entries()) {
        const status = await client.status().catch(() => null);
        const address = this.#addresses[index];
        if (status !== null && status.leader === status.member && address !== undefined)
          return address;
      }
      await delay(20);
    }
    throw new DwcpError('ERR_DWCP_TIMEOUT', 'etcd elected no leader in time');
  }

  /** Puts so far, when every member has applied them. */
  async revision(): Promise<number> {
    const untilMs = performance.now() + READY_WITHIN_MS;
    for (;;) {
      const key = allKeys()[0] ?? Buffer.alloc(1);
      const answers = await Promise.all(
        this.#clients.map((client) => client.read({ key, isSerializable: true })),
      );
      const [first, ...others] = answers.map(({ revision }) => revision);
      if (first !== undefined && others.every((other) => other === first)) return first;
      assert(
        performance.now() < untilMs,
        `members of etcd stay at ${answers.map((a) => a.revision)}`,
      );
      await delay(5);
    }
  }

  /** Every key on every member holds what an operation wrote there. */
  async checkValues(): Promise<void> {
    for (const client of this.#clients) {
      for (const key of allKeys()) {
        const { value } = await client.read({ key, isSerializable: true });
        if (value === null) continue;
        assert(operationOf(value, value.length) !== null, `${key} of etcd is not what was put`);
      }
    }
  }

  stop(): void {
    for (const client of this.#clients) client.close();
    for (const process of this.#processes) process.kill('SIGKILL');
  }
}

function findEtcd(): { readonly binary: string; readonly version: string } {
  try {
    const script = join(checkout, 'scripts/etcd.mjs');
    const text = execFileSync(process.execPath, [script], { encoding: 'utf8', timeout: 300_000 });
    return JSON.parse(text) as { binary: string; version: string };
  } catch (cause) {
    throw new DwcpError('ERR_DWCP_UNSUPPORTED', 'the consensus benches compare with etcd', {
      hint: 'Name an etcd 3.4 in DWCP_ETCD; Debian has it in etcd-server.',
      cause,
    });
  }
}
