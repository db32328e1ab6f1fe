/** Three agents under test with one guest, a network that can be cut, and a witness of who runs. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AdminClient } from '../../src/agent/admin-client.ts';
import { type DemoCluster, startDemoCluster } from '../../src/cli/demo/cluster.ts';
import { assert } from '../../src/util/assert.ts';
import { type Arm, memoryArm, qemuArm } from '../integration/faults/arms.ts';
import { guestProcesses } from '../integration/faults/processes.ts';
import type { GuestKind } from './cells.ts';
import { HOSTS, type Host, Network } from './network.ts';
import { MemoryWitness, SerialWitness, type Witness } from './witness.ts';

const AGENT = fileURLToPath(new URL('./failpoint-agent.js', import.meta.url));
export const GUEST = 'vm';

export class SoakCluster {
  readonly network: Network;
  readonly witness: Witness;
  readonly #cluster: DemoCluster;
  readonly #arm: Arm;
  readonly #scratch: string;

  private constructor(parts: {
    readonly network: Network;
    readonly witness: Witness;
    readonly cluster: DemoCluster;
    readonly arm: Arm;
    readonly scratch: string;
  }) {
    this.network = parts.network;
    this.witness = parts.witness;
    this.#cluster = parts.cluster;
    this.#arm = parts.arm;
    this.#scratch = parts.scratch;
  }

  static async start(guest: GuestKind): Promise<SoakCluster> {
    const arm = guest === 'memory' ? memoryArm() : qemuArm();
    const scratch = mkdtempSync(join(tmpdir(), 'dwcp-soak-'));
    const pipePath = join(scratch, 'beats');
    const network = new Network(16 + (process.pid % 200));
    const hosts = network.hosts();
    // Known beforehand, so that what is dialled after a restart is what the network passes on.
    const bulkPort = await freePort(hosts['a'] ?? '');
    const memoryWitness = guest === 'memory' ? new MemoryWitness(pipePath) : null;
    const cluster = await startDemoCluster({
      settings: { ...withPipes(arm.settings, scratch), bulkPort },
      program: AGENT,
      hosts,
      flags: (directory, node) => [
        ...['--test-failpoints', failPointFile(directory, node)],
        ...['--dial-through', network.dialPrefix(node)],
      ],
      environment: () => ({ DWCP_GUEST_HEARTBEAT: pipePath }),
    });
    const witness = memoryWitness ?? new SerialWitness(cluster.directory);
    const soak = new SoakCluster({ network, witness, cluster, arm, scratch });
    for (const host of HOSTS) {
      const { controlPort } = await soak.client(host).status();
      await network.open(host, controlPort);
      await network.open(host, bulkPort);
    }
    return soak;
  }

  async startGuest(): Promise<void> {
    await this.client('a').startGuest(this.#arm.kind, GUEST, this.#arm.options);
  }

  client(host: Host): AdminClient {
    const client = this.#cluster.clients.get(host);
    assert(client !== undefined, `the cluster has a client for ${host}`);
    return client;
  }

  failPointFile(host: Host): string {
    return failPointFile(this.#cluster.directory, host);
  }

  /** Of the agent; null while it is down. */
  pidOf(host: Host): number | null {
    const config = join(this.#cluster.directory, `${host}.yaml`);
    const found = guestProcesses('failpoint-agent').find(({ words }) => words.includes(config));
    return found?.pid ?? null;
  }

  kill(host: Host): Promise<void> {
    return this.#cluster.crash(host);
  }

  restart(host: Host): Promise<void> {
    return this.#cluster.restart(host);
  }

  async stop(): Promise<void> {
    this.witness.close();
    this.network.close();
    await this.#cluster.stop();
    this.#arm.dispose();
    rmSync(this.#scratch, { recursive: true, force: true });
  }
}

function failPointFile(directory: string, host: string): string {
  return join(directory, `${host}.fail-point`);
}

/**
 * QEMU's serial port becomes a pipe: what the agent takes for QEMU makes it and then becomes QEMU, under
 * the same pid. QEMU waits until somebody holds the other end.
 */
function withPipes(settings: Arm['settings'], scratch: string): Arm['settings'] {
  const qemu = settings['qemu'] as { readonly binary: string } | undefined;
  if (qemu === undefined) return settings;
  const binary = join(scratch, 'qemu-with-pipe');
  const lines = [
    '#!/bin/sh',
    'for word; do',
    '  case $word in file:*/serial) mkfifo -m 600 "$(echo "$word" | cut -c 6-)" ;; esac',
    'done',
    `exec ${qemu.binary} "$@"`,
  ];
  writeFileSync(binary, `${lines.join('\n')}\n`);
  chmodSync(binary, 0o700);
  return { ...settings, qemu: { ...qemu, binary } };
}

async function freePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  assert(address !== null && typeof address === 'object', 'the kernel gave a port');
  return address.port;
}
