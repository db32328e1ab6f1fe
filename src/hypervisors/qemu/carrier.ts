/** How QEMU's migration stream gets to the other host. */

import type { TransferProfile } from '../../ports/transfer-profile.ts';
import type { BulkLink, ByteSendEvent, PageClasses, TransferName } from '../../ports/transport.ts';
import type { DwcpError } from '../../util/errors.ts';

/** Bytes on their way count as sent to QEMU; more of them would make it misjudge the downtime. */
export const WINDOW_BYTES: number = 8 * 2 ** 20;

/** What the guest asks for in post-copy waits behind what is on its way. */
export const POSTCOPY_WINDOW_BYTES: number = 2 * 2 ** 20;

export interface Carried {
  /** By the way they took; null when nobody looked into the stream. */
  readonly pages: (PageClasses & { readonly rawBytes: number }) | null;
  readonly wireBytes: number;
  readonly ackedBytes: number;
  /** Read from QEMU and not at the other host yet. */
  readonly waitingBytes: number;
}

export interface Carrier {
  counters(): Carried;
  /** What the waiting QEMU's side says back. */
  writeReturn(bytes: Uint8Array): void;
  /** Pages go by rounds; `sentPages` is how many QEMU wrote in this one. */
  roundEnded(sentPages: number): void;
  /** While it does not read, QEMU stands still in its writing; its guest does not. */
  setReading(reading: boolean): void;
  /** Calls back once all that was read from QEMU is at the other host; never when that fails. */
  whenCarried(done: () => void): void;
  /** How long the waiting QEMU would need for what it has not got yet. */
  loadMs(): number;
  /** Calls back once every round is counted in that, or the other side is silent for long. */
  whenLoadIsKnown(done: () => void): void;
  close(): void;
}

export interface CarrierOptions extends TransferName {
  readonly link: BulkLink;
  /** Where QEMU will connect. */
  readonly listenPath: string;
  /** Of those that go as pages. */
  readonly profile: TransferProfile;
  readonly windowBytes?: number;
  readonly onFailure: (error: DwcpError) => void;
}

/** The stream as it is. */
export function passThrough(carried: CarrierOptions): Carrier {
  const { link, onFailure, profile: _, windowBytes = WINDOW_BYTES, ...options } = carried;
  const onEvent = (event: ByteSendEvent): void => {
    if (event.type === 'failed') onFailure(event.error);
  };
  const sender = link.sendBytes({ ...options, windowBytes }, onEvent);
  return {
    counters: () => {
      const { wireBytes, ackedBytes } = sender.counters();
      return { pages: null, wireBytes, ackedBytes, waitingBytes: 0 };
    },
    writeReturn: (bytes) => sender.writeReturn(bytes),
    roundEnded: () => {},
    setReading: () => {},
    // QEMU itself counts what waits, and its window holds it back.
    whenCarried: (done) => setImmediate(done),
    loadMs: () => 0,
    whenLoadIsKnown: (done) => setImmediate(done),
    close: () => sender.close(),
  };
}
