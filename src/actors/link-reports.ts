/** What a link has to tell its node, in order; a node that is busy is told later. */
import type { LinkContext } from './link-messages.ts';
import type { LinkReport } from './messages.ts';
import type { ActorRef } from './system.ts';

const FLUSH_US = 10_000;

export class LinkReports {
  readonly #node: ActorRef<LinkReport>;
  readonly #waiting: LinkReport[] = [];

  constructor(node: ActorRef<LinkReport>) {
    this.#node = node;
  }

  /** Reports that the node has not taken yet; whoever adds more keeps it bounded. */
  get waiting(): number {
    return this.#waiting.length;
  }

  tell(report: LinkReport, context: LinkContext): void {
    this.#waiting.push(report);
    this.flush(context);
  }

  flush(context: LinkContext): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (this.#node.tell(next) === 'full') {
        context.setTimer('flush', context.nowUs() + FLUSH_US, { type: 'flush' });
        return;
      }
      this.#waiting.shift();
    }
  }
}
