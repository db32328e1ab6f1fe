/** Memory guests, which answer anybody at their control sockets. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Census, GuestAccount, SeenGuest } from './census.ts';
import { guestProcesses, isFrozen } from './processes.ts';

const ANSWER_WITHIN_MS = 2_000;
const PROGRESS_MS = 20;

export class MemoryCensus implements Census {
  readonly #directory: string;

  /** Of the guests whose data directories lie in `directory`, a folder per node. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  async take(): Promise<readonly SeenGuest[]> {
    const seen: SeenGuest[] = [];
    for (const { pid, words } of guestProcesses('dwcp-guest')) {
      const socketPath = words[words.indexOf('--socket') + 1] ?? '';
      if (!socketPath.startsWith(`${this.#directory}/`)) continue;
      const node = socketPath.slice(this.#directory.length + 1).split('/')[0] ?? '';
      const state = await stateOf(pid, socketPath);
      if (state !== null) seen.push({ node, pid, socketPath, state });
    }
    return seen;
  }

  async account(guest: SeenGuest): Promise<GuestAccount | null> {
    const report = (await ask(guest.socketPath, 'report')) as Report | null;
    return report && { ...report, longestGapMs: report.longestGapUs / 1000 };
  }

  async resetGap(guest: SeenGuest): Promise<void> {
    assert.deepEqual(await ask(guest.socketPath, 'reset-gap'), { ok: true });
  }

  async splitBrain(): Promise<string | null> {
    const running = (await this.take()).filter(({ state }) => state === 'running');
    if (running.length < 2) return null;
    // One may have stopped before the other started, between our two looks.
    const before = await Promise.all(running.map((guest) => this.account(guest)));
    await delay(PROGRESS_MS);
    const after = await Promise.all(running.map((guest) => this.account(guest)));
    const works = running.filter((_, index) => {
      const [first, last] = [before[index], after[index]];
      return first && last && last.operations > first.operations;
    });
    if (works.length < 2) return null;
    return `it runs ${works.length} times: ${works.map(({ node, pid }) => `${node} ${pid}`).join(', ')}`;
  }

  close(): void {}
}

interface Report {
  readonly operations: number;
  readonly longestGapUs: number;
  readonly invariantHeld: boolean;
}

/** Null when the guest is gone, or was killed while it was asked. */
async function stateOf(pid: number, socketPath: string): Promise<SeenGuest['state'] | null> {
  if (isFrozen(pid)) return 'frozen';
  const described = (await ask(socketPath, 'describe')) as { readonly isRunning: boolean } | null;
  if (described !== null) return described.isRunning ? 'running' : 'paused';
  return isFrozen(pid) ? 'frozen' : null;
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
