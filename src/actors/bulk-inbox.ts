import type { BulkStream, BulkStreamEvent } from '../ports/transport.ts';

/**
 * A stream is subscribed once, but an accepted one changes hands: from the transport, which reads
 * who is calling, to that peer's link. A close in between is not lost.
 */
export class BulkInbox {
  readonly stream: BulkStream;
  #target: (event: BulkStreamEvent) => void;
  #closed: BulkStreamEvent | null = null;

  constructor(stream: BulkStream, target: (event: BulkStreamEvent) => void) {
    this.stream = stream;
    this.#target = target;
    stream.subscribe((event) => {
      if (event.type === 'closed') this.#closed = event;
      this.#target(event);
    });
  }

  handTo(target: (event: BulkStreamEvent) => void): void {
    this.#target = target;
    if (this.#closed !== null) target(this.#closed);
  }
}
