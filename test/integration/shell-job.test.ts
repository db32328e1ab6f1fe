/**
 * An operator starts an agent as a job of a shell, and it is killed while its guest is frozen. A
 * stopped process of an orphaned process group is woken by the kernel; a guest must never be one.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { AdminClient } from '../../src/agent/admin-client.ts';
import { type DemoCluster, startDemoCluster } from '../../src/cli/demo/cluster.ts';
import {
  allThreadsStopped,
  isAlive,
  type ProcessIdentity,
  readStartTicks,
} from '../../src/hypervisors/process-fence.ts';
import { type Arm, memoryArm, qemuArm } from './faults/arms.ts';
import { armFailPoint } from './faults/fail-point.ts';

const DWCP = fileURLToPath(new URL('../../../bin/dwcp.js', import.meta.url));
const FAULTY_AGENT = fileURLToPath(new URL('./faults/faulty-agent.js', import.meta.url));
const WATCH_MS = 1_000;
const WITHIN_MS = 30_000;

for (const make of [memoryArm, qemuArm]) {
  const arm = make();
  test(`a frozen ${arm.kind} guest stays frozen when its agent, a shell job, is killed`, async () => {
    const cluster = await startDemoCluster({
      settings: arm.settings,
      program: FAULTY_AGENT,
      environment: (directory, node) => ({ DWCP_FAIL_POINT: failPointFile(directory, node) }),
    });
    let job: Job | null = null;
    try {
      await cluster.crash('a');
      job = await startJob(join(cluster.directory, 'a.yaml'));
      const guest = await freezeOnA(cluster, arm);
      await killAndWatch(job, guest);
      await settle(cluster, guest);
    } finally {
      job?.shell.kill('SIGKILL');
      await cluster.stop();
      arm.dispose();
    }
  });
}

interface Job {
  readonly shell: ChildProcess;
  readonly agent: ProcessIdentity;
  /** A process of the job that has no session of its own, as a guest without `setsid` would be. */
  readonly witness: ProcessIdentity;
}

/** A shell with job control, and in it the agent as a background job, with a child beside it. */
function startJob(config: string): Promise<Job> {
  const script = `set -m
    ( sleep 1000 & echo "witness $!"; echo "agent $BASHPID"
      exec "${process.execPath}" "${DWCP}" agent --json --config "${config}" ) &
    wait`;
  const shell = spawn('bash', ['-c', script], {
    detached: true,
    env: { ...process.env, DWCP_NO_SETUP: '1' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const pids = new Map<string, ProcessIdentity>();
  return new Promise((resolve, reject) => {
    shell.once('exit', (code) => reject(new Error(`the shell ended with ${code}`)));
    createInterface({ input: shell.stdout }).on('line', (line) => {
      const [name = '', pid] = line.split(' ');
      if (name === 'agent' || name === 'witness') pids.set(name, identityOf(Number(pid)));
      const [agent, witness] = [pids.get('agent'), pids.get('witness')];
      if (line.startsWith('{"type":"ready"') && agent !== undefined && witness !== undefined) {
        resolve({ shell, agent, witness });
      }
    });
  });
}

/** b dies as the guest's owner before it runs it: the last copy stands fenced on a, whose agent lives. */
async function freezeOnA(cluster: DemoCluster, arm: Arm): Promise<ProcessIdentity> {
  const a = client(cluster, 'a');
  await a.startGuest(arm.kind, 'vm', arm.options);
  await until(async () => (await a.status()).peers.every(({ connected }) => connected), 'linked');
  const path = failPointFile(cluster.directory, 'b');
  armFailPoint(path, { step: 'before resume', action: 'kill', skip: 0, delayMs: 0 });
  a.migrate('vm', { to: 'b' }, () => {}).catch(() => {});
  await until(() => !existsSync(path), 'b got as far as its resume');
  const isUnknown = async () => (await a.guests())[0]?.state === 'outcomeUnknown';
  await until(isUnknown, 'a does not know whether it runs');
  const [guest] = await a.guests();
  assert.ok(guest !== undefined);
  const identity = identityOf(guest.pid);
  assert.ok(allThreadsStopped(identity));
  return identity;
}

async function killAndWatch({ shell, agent, witness }: Job, guest: ProcessIdentity): Promise<void> {
  process.kill(witness.pid, 'SIGSTOP');
  await until(() => allThreadsStopped(witness), 'the witness is stopped');
  process.kill(agent.pid, 'SIGKILL');
  // The proof that this layout wakes: the kernel hangs up on the orphaned group, and continues it.
  await until(() => !isAlive(witness), 'the witness was woken, and hung up on');
  shell.kill('SIGKILL');
  const untilMs = performance.now() + WATCH_MS;
  while (performance.now() < untilMs) {
    assert.ok(allThreadsStopped(guest), 'the guest is frozen');
    await delay(10);
  }
}

/** The agents come back: frozen until the destination says that it runs the guest. */
async function settle(cluster: DemoCluster, guest: ProcessIdentity): Promise<void> {
  await cluster.restart('a');
  const a = client(cluster, 'a');
  await until(async () => (await a.guests())[0]?.state === 'outcomeUnknown', 'a found its fence');
  assert.ok(allThreadsStopped(guest), 'a restarted agent does not wake it');
  await cluster.restart('b');
  const b = client(cluster, 'b');
  await until(async () => (await b.guests())[0]?.state === 'running', 'b resumes what is its own');
  await until(() => !isAlive(guest), 'the frozen copy is released');
  await until(async () => (await a.guests()).length === 0, 'and a forgets it');
}

function client(cluster: DemoCluster, node: string): AdminClient {
  const found = cluster.clients.get(node);
  assert.ok(found !== undefined);
  return found;
}

function identityOf(pid: number): ProcessIdentity {
  const startTicks = readStartTicks(pid);
  assert.ok(startTicks !== null, `process ${pid} lives`);
  return { pid, startTicks };
}

function failPointFile(directory: string, node: string): string {
  return join(directory, `${node}.fail-point`);
}

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const untilMs = performance.now() + WITHIN_MS;
  while (!(await holds())) {
    assert.ok(performance.now() < untilMs, `not in time: ${what}`);
    await delay(20);
  }
}
