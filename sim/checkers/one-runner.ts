/** At most one copy of a VM executes at any instant, as the copies themselves show it. */
import type { GuestLog } from '../hypervisor/guest-log.ts';
import type { Finding } from '../world/violation.ts';

export class OneRunner {
  readonly #log: GuestLog;
  #seen = 0;

  constructor(log: GuestLog) {
    this.#log = log;
  }

  look(): Finding | null {
    const { starts } = this.#log;
    for (; this.#seen < starts.length; this.#seen += 1) {
      const start = starts[this.#seen];
      if (start === undefined || start.beside === null) continue;
      const { vm, host, instance, beside } = start;
      return {
        message: `${vm} runs on ${host} (copy ${instance}) while its copy ${beside} runs`,
        details: start,
      };
    }
    return null;
  }
}
