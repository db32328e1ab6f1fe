/**
 * A copy that begins to run goes on exactly where the one before it stood: its memory is equal, page by
 * page, and no operation of the workload is missing or was undone.
 */
import type { GuestLog } from '../hypervisor/guest-log.ts';
import type { Finding } from '../world/violation.ts';

export class GuestWrites {
  readonly #log: GuestLog;
  #seen = 0;

  constructor(log: GuestLog) {
    this.#log = log;
  }

  look(): Finding | null {
    const { starts } = this.#log;
    for (; this.#seen < starts.length; this.#seen += 1) {
      const start = starts[this.#seen];
      if (start === undefined) continue;
      const { vm, host, counter, doneBefore, differentPage } = start;
      if (counter !== doneBefore) {
        const message = `${vm} goes on at ${host} from operation ${counter}, it had done ${doneBefore}`;
        return { message, details: start };
      }
      if (differentPage !== null) {
        const message = `${vm} runs at ${host} with another page ${differentPage} than it had before`;
        return { message, details: start };
      }
    }
    return null;
  }
}
