/**
 * What really runs on this machine, asked of the kernel and of the guests themselves and never of an
 * agent: a guest process, whose data directory it belongs to, and whether its workload works.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { allThreadsStopped, readStartTicks } from '../../../src/hypervisors/process-fence.ts';

export interface SeenGuest {
  readonly node: string;
  readonly pid: number;
  readonly socketPath: string;
  readonly state: 'running' | 'paused' | 'frozen';
}

export interface GuestAccount {
  readonly operations: number;
  readonly longestGapUs: number;
  readonly invariantHeld: boolean;
}

const ANSWER_WITHIN_MS = 2_000;
const PROGRESS_MS = 20;

export class Census {
  readonly #directory: string;

  /** Of the guests whose data directories lie in `directory`, a folder per node. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  async take(): Promise<readonly SeenGuest[]> {
    const seen: SeenGuest[] = [];
    for (const entry of readdirSync('/proc')) {
      const found = this.#guestProcess(Number(entry));
      if (found === null) continue;
      const state = await stateOf(found.pid, found.socketPath);
      if (state !== null) seen.push({ ...found, state });
    }
    return seen;
  }

  async running(): Promise<readonly SeenGuest[]> {
    return (await this.take()).filter(({ state }) => state === 'running');
  }

  /** Two workloads that both make progress: never to be seen. Null when all is well. */
  async splitBrain(): Promise<string | null> {
    const running = await this.running();
    if (running.length < 2) return null;
    // One may have stopped before the other started, between our two looks.
    const before = await Promise.all(running.map(accountOf));
    await delay(PROGRESS_MS);
    const after = await Promise.all(running.map(accountOf));
    const works = running.filter((_, index) => {
      const [first, last] = [before[index], after[index]];
      return first && last && last.operations > first.operations;
    });
    if (works.length < 2) return null;
    return `it runs ${works.length} times: ${works.map(({ node, pid }) => `${node} ${pid}`).join(', ')}`;
  }

  #guestProcess(pid: number): Omit<SeenGuest, 'state'> | null {
    if (!Number.isInteger(pid)) return null;
    let words: string[];
    try {
      words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    } catch {
      return null;
    }
    const socketPath = words[words.indexOf('--socket') + 1] ?? '';
    if (!words[0]?.endsWith('dwcp-guest') || !socketPath.startsWith(`${this.#directory}/`)) {
      return null;
    }
    const node = socketPath.slice(this.#directory.length + 1).split('/')[0] ?? '';
    return { node, pid, socketPath };
  }
}

/** Null when the guest did not answer, such as one that was frozen or killed meanwhile. */
export async function accountOf(guest: SeenGuest): Promise<GuestAccount | null> {
  return (await ask(guest.socketPath, 'report')) as GuestAccount | null;
}

export async function resetGap(guest: SeenGuest): Promise<void> {
  assert.deepEqual(await ask(guest.socketPath, 'reset-gap'), { ok: true });
}

async function stateOf(pid: number, socketPath: string): Promise<SeenGuest['state'] | null> {
  const isFrozen = (): boolean => {
    const startTicks = readStartTicks(pid);
    return startTicks !== null && allThreadsStopped({ pid, startTicks });
  };
  if (isFrozen()) return 'frozen';
  const described = (await ask(socketPath, 'describe')) as { readonly isRunning: boolean } | null;
  if (described !== null) return described.isRunning ? 'running' : 'paused';
  return isFrozen() ? 'frozen' : null;
}

function ask(socketPath: string, command: string): Promise<object | null> {
  return new Promise((resolve) => {
    const socket = connect({ path: socketPath });
    let text = '';
    const finish = (answer: object | null): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => finish(null), ANSWER_WITHIN_MS);
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(`${command}\n`));
    socket.on('error', () => finish(null));
    socket.on('close', () => finish(null));
    socket.on('data', (part: string) => {
      text += part;
      if (text.includes('\n')) finish(JSON.parse(text) as object);
    });
  });
}
