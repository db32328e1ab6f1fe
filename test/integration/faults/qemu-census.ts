/** QEMU guests, which tell nobody but their agent; their firmware counts on the serial port. */
import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { TickWatch } from '../../../src/cli/demo/tick-watch.ts';
import type { Census, GuestAccount, SeenGuest } from './census.ts';
import { guestProcesses, isFrozen } from './processes.ts';

export class QemuCensus implements Census {
  readonly #directory: string;
  readonly #watch: TickWatch;

  constructor(directory: string, dataDirs: readonly string[]) {
    this.#directory = directory;
    this.#watch = new TickWatch(dataDirs);
  }

  async take(): Promise<readonly SeenGuest[]> {
    return guestProcesses('qemu-system').flatMap(({ pid, words }) => {
      const qmp = words.find((word) => word.startsWith(`unix:${this.#directory}/`));
      const socketPath = qmp?.slice('unix:'.length).split(',')[0];
      if (socketPath === undefined) return [];
      const node = socketPath.slice(this.#directory.length + 1).split('/')[0] ?? '';
      return [{ node, pid, socketPath, state: stateOf(pid, socketPath) }];
    });
  }

  async account(): Promise<GuestAccount> {
    return this.#watch.report();
  }

  async resetGap(): Promise<void> {
    await this.#watch.ready();
    this.#watch.reset();
  }

  /** Two copies of one guest count the same numbers: one of them would come twice. */
  async splitBrain(): Promise<string | null> {
    return this.#watch.fault;
  }

  close(): void {
    this.#watch.close();
  }
}

/** One that arrived and was not resumed has said nothing yet. */
function stateOf(pid: number, socketPath: string): SeenGuest['state'] {
  if (isFrozen(pid)) return 'frozen';
  const serial = statSync(join(dirname(socketPath), 'serial'), { throwIfNoEntry: false });
  return (serial?.size ?? 0) > 0 ? 'running' : 'paused';
}
