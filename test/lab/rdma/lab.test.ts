/** On the host: what the lab gives back and what it leaves. What its device can do: test/rdma/lab-device.test.ts. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { checkout } from '../../../bench/harness.ts';
import { processesWith, until } from '../host-state.ts';

const LAB = join(checkout, 'dist/test/lab/rdma/lab.js');
const timeout = 480_000;
const folders: string[] = [];

after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

interface RunningLab {
  readonly process: ChildProcess;
  readonly exchange: string;
  readonly said: { stdout: string; stderr: string };
  readonly status: Promise<number | null>;
}

function startLab(limitSec: number, script: string): RunningLab {
  // A comma would end an option of QEMU's.
  const exchange = mkdtempSync(join(tmpdir(), 'dwcp-lab, '));
  folders.push(exchange);
  const args = [LAB, '--limit', `${limitSec}`, '--exchange', exchange, '--', 'sh', '-c', script];
  const lab = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    lab[stream].setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text;
    });
  }
  const status = once(lab, 'close').then(([code]) => code as number | null);
  return { process: lab, exchange, said, status };
}

function qemusOf({ exchange }: RunningLab): readonly number[] {
  const path = exchange.replaceAll(',', ',,');
  const word = `local,id=exchange,path=${path},security_model=none,multidevs=remap`;
  return processesWith(word);
}

async function assertNothingLeft(lab: RunningLab): Promise<void> {
  await until('a QEMU is left', () => qemusOf(lab).length === 0);
}

describe('the RDMA lab', () => {
  it('gives back output, status and files, and nothing else that its command wrote', {
    timeout,
  }, async () => {
    const trace = join(checkout, `build/lab-trace-${process.pid}`);
    const script = `echo out; echo err >&2; echo "$LAB_DEVICE" > "$LAB_EXCHANGE/name";
      touch ${trace} && pwd && exit 7`;
    const lab = startLab(60, script);
    assert.equal(await lab.status, 7, lab.said.stderr);
    assert.deepEqual(lab.said, { stdout: `out\n${join(checkout)}\n`, stderr: 'err\n' });
    assert.equal(readFileSync(join(lab.exchange, 'name'), 'utf8'), 'rxe0\n');
    assert.equal(existsSync(trace), false, `${trace} came from the guest`);
    await assertNothingLeft(lab);
  });

  it('ends a command that does not end, with 124', { timeout }, async () => {
    const lab = startLab(2, 'echo begun; sleep 86400');
    assert.equal(await lab.status, 124, lab.said.stderr);
    assert.deepEqual(lab.said, { stdout: 'begun\n', stderr: '' });
    await assertNothingLeft(lab);
  });

  it('leaves no QEMU when it is interrupted', { timeout }, async () => {
    const lab = startLab(600, 'echo begun; sleep 86400');
    await once(lab.process.stdout ?? lab.process, 'data');
    assert.equal(qemusOf(lab).length, 1);
    lab.process.kill('SIGINT');
    assert.equal(await lab.status, 130, lab.said.stderr);
    await assertNothingLeft(lab);
  });

  it('leaves no QEMU when it is killed', { timeout }, async () => {
    const lab = startLab(600, 'sleep 86400');
    await until('QEMU runs', () => qemusOf(lab).length > 0);
    lab.process.kill('SIGKILL');
    await lab.status;
    await assertNothingLeft(lab);
  });

  it('tells what a line of options lacks', async () => {
    const lab = spawn(process.execPath, [LAB, '--limit', 'soon', '--', 'true']);
    assert.deepEqual(await once(lab, 'close'), [2, null]);
  });
});
