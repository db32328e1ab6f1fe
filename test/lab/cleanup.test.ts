import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { checkout } from '../../bench/harness.ts';
import { startWan } from '../../bench/lab/wan.ts';
import { namespacesLeft, processesWith, until } from './host-state.ts';

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root';
const LINK = join(checkout, 'build/lab/wan-link');
const LAB = join(checkout, 'dist/bench/lab/lab.js');

interface RunningLab {
  readonly process: ChildProcess;
  /** The process that removes the namespaces; they carry its id. */
  readonly guardian: number;
  /** On the command line of what runs in the namespace, and nowhere else. */
  readonly mark: string;
}

/** With a command that would run for an hour, and a child of its own that left its session. */
async function startLab(): Promise<RunningLab> {
  const mark = `3600.${process.pid}${Math.trunc(performance.now())}`;
  const script = `setsid sleep ${mark} & echo $LAB_A; sleep ${mark}`;
  const lab = spawn(process.execPath, [LAB, '--profile', 'metro', '--', 'sh', '-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [name] = (await once(createInterface({ input: lab.stdout }), 'line')) as [string];
  await until('both sleep', () => processesWith(mark).length === 2);
  return { process: lab, guardian: Number(name.split('-')[2]), mark };
}

/** The guardian's only child. */
function carrierOf({ guardian }: RunningLab): number {
  const children = readFileSync(`/proc/${guardian}/task/${guardian}/children`, 'utf8');
  assert.match(children, /^\d+ $/);
  return Number(children);
}

async function assertNothingLeft({ guardian, mark }: RunningLab): Promise<void> {
  await until('processes are left', () => processesWith(mark).length === 0);
  await until('namespaces are left', () => namespacesLeft(guardian).length === 0);
}

describe('the lab leaves no namespace and no process', { skip: needsRoot }, () => {
  it('when its command ends, whose exit code it ends with', { timeout: 30_000 }, async () => {
    const script = 'echo $LAB_A; ping -q -c 1 $LAB_ADDRESS_B >/dev/null || exit 9; exit 7';
    const lab = spawn(process.execPath, [LAB, '--profile', 'metro', '--', 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const said = once(createInterface({ input: lab.stdout }), 'line') as Promise<[string]>;
    const [code] = (await once(lab, 'exit')) as [number];
    assert.equal(code, 7);
    const [name] = await said;
    assert.match(name, /^dwcp-lab-\d+-a$/);
    assert.deepEqual(namespacesLeft(Number(name.split('-')[2])), []);
  });

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const) {
    it(`when the command line gets ${signal}`, { timeout: 30_000 }, async () => {
      const lab = await startLab();
      lab.process.kill(signal);
      await assertNothingLeft(lab);
    });
  }

  it('when the process that carries packets is killed', { timeout: 30_000 }, async () => {
    const lab = await startLab();
    process.kill(carrierOf(lab), 'SIGKILL');
    await assertNothingLeft(lab);
    lab.process.kill('SIGKILL');
  });

  it('when the process that would clean up is killed', { timeout: 30_000 }, async () => {
    const lab = await startLab();
    process.kill(lab.guardian, 'SIGKILL');
    await assertNothingLeft(lab);
    lab.process.kill('SIGKILL');
  });

  it('once the next one starts, when both were killed at once', { timeout: 30_000 }, async () => {
    const lab = await startLab();
    const both = [lab.guardian, carrierOf(lab)];
    for (const pid of both) process.kill(pid, 'SIGSTOP');
    for (const pid of both.toReversed()) process.kill(pid, 'SIGKILL');
    await until('the link ends', () => !processesWith(LINK).some((pid) => both.includes(pid)));
    // The start of another test's lab may be the next one.
    await (await startWan({ profile: 'metro' })).stop();
    await assertNothingLeft(lab);
    lab.process.kill('SIGKILL');
  });
});
