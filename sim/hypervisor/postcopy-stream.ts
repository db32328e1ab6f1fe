/**
 * What two QEMUs have between them in post-copy, reduced to when the guest may run and when the source is not
 * needed any more: devices, then pages, over a stream that ends with either agent.
 */
import {
  type Completion,
  DwcpError,
  failed,
  type Outcome,
  succeeded,
} from '../../src/util/errors.ts';
import type { GuestModel, HostName } from './guest-model.ts';

const LOST = new DwcpError('ERR_DWCP_GUEST_FAILED', 'the stream is gone');
const DONE: Outcome<void> = succeeded(undefined);

export class PostcopyStream {
  readonly #guest: GuestModel;
  readonly #later: (what: string, run: () => void) => void;
  #isStarted = false;
  #isLost = false;
  isWhole = false;
  /** The guest ran at the destination, on memory that it had not got yet. */
  ran = false;
  #left: Completion<void> | null = null;
  #running: Completion<void> | null = null;
  #whole: Completion<void> | null = null;

  constructor(guest: GuestModel, later: (what: string, run: () => void) => void) {
    this.#guest = guest;
    this.#later = later;
  }

  /** Of a source whose agent restarted it only says how far it got. */
  start(left: Completion<void>): void {
    if (this.isWhole) return left(DONE);
    if (this.#isLost) return left(failed(LOST));
    this.#isStarted = true;
    this.#left = left;
    this.#next();
  }

  whenRunning(running: Completion<void>): void {
    this.#running = running;
    if (this.#isLost) return this.lose('source');
    this.#next();
  }

  whenWhole(whole: Completion<void>): void {
    this.#whole = whole;
    if (this.#isLost) whole(failed(LOST));
  }

  /** With the agent of `host`, whose completions nobody takes any more. */
  lose(host: HostName): void {
    if (this.isWhole) return;
    const [left, running, whole] = [this.#left, this.#running, this.#whole];
    this.#isLost = true;
    this.#left = this.#running = this.#whole = null;
    if (host === 'destination') return left?.(failed(LOST));
    // Without its devices a QEMU ends with its stream; one that runs stands still at some page.
    if (running !== null && this.#guest.copies.destination === 'stopped') {
      this.#guest.set('destination', 'killed');
    }
    running?.(failed(LOST));
    whole?.(failed(LOST));
  }

  #next(): void {
    if (!this.#isStarted || this.#running === null) return;
    this.#later('the devices arrive', () => {
      const running = this.#running;
      this.#running = null;
      if (running === null || this.#isLost) return;
      this.ran = true;
      this.#guest.set('destination', 'running');
      running(DONE);
      this.#later('the last page arrives', () => this.#end());
    });
  }

  #end(): void {
    if (this.#isLost) return;
    this.isWhole = true;
    const [left, whole] = [this.#left, this.#whole];
    this.#left = this.#whole = null;
    whole?.(DONE);
    left?.(DONE);
  }
}
