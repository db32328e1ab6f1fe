/**
 * One named step at which an agent under test dies, or loses a connection. The test arms it in a file
 * while the agent runs; the agent takes the file away when it acts, so that nobody fails twice.
 */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';

export interface FailPoint {
  /** Such as `before put fence`, `after send fenced`, `before incoming.resume`. */
  readonly step: string;
  readonly action: FailAction;
  /** Times the step is let through first. */
  readonly skip: number;
  /** From the step to the act, for what happens in the middle of a long step. */
  readonly delayMs: number;
}

/** `stop`: the process stands still as a whole, until somebody lets it go on. */
export type FailAction = 'kill' | 'stop' | 'cutLink' | 'cutStream';

export function armFailPoint(path: string, failPoint: FailPoint): void {
  writeFileSync(`${path}.new`, JSON.stringify(failPoint));
  renameSync(`${path}.new`, path);
}

export function disarmFailPoint(path: string): void {
  rmSync(path, { force: true });
}

export function isArmed(path: string): boolean {
  return existsSync(path);
}

/** Called by an agent at each of its steps. */
export class FailPoints {
  readonly #path: string;
  readonly #act: (action: FailAction) => void;
  #armed = '';
  #passed = 0;

  constructor(path: string, act: (action: FailAction) => void) {
    this.#path = path;
    this.#act = act;
  }

  readonly reach = (step: string): void => {
    if (!existsSync(this.#path)) return;
    const text = readFileSync(this.#path, 'utf8');
    if (text !== this.#armed) this.#passed = 0;
    this.#armed = text;
    const { step: wanted, skip, delayMs, action } = JSON.parse(text) as FailPoint;
    if (step !== wanted) return;
    this.#passed += 1;
    if (this.#passed !== skip + 1) return;
    if (delayMs > 0) setTimeout(() => this.#fail(action), delayMs);
    else this.#fail(action);
  };

  #fail(action: FailAction): void {
    rmSync(this.#path, { force: true });
    // The same step may be armed once more, and counts from the start.
    this.#armed = '';
    if (action === 'kill') process.kill(process.pid, 'SIGKILL');
    else if (action === 'stop') process.kill(process.pid, 'SIGSTOP');
    else this.#act(action);
  }
}
