/** QEMU's migration stream, as the addon reads it. */
import { addon } from './addon.ts';

export interface QemuAddon {
  qemuRoundTrip(bytes: Uint8Array, pieceBytes: number, multifd: boolean): QemuStreamAccount;
}

/** What was read of a stream, and the stream as it is written again. */
export interface QemuStreamAccount {
  readonly bytes: Uint8Array;
  readonly pages: number;
  readonly zeroPages: number;
  readonly deltas: number;
  /** Passed on unread, for this reason. */
  readonly opaqueBytes: number;
  readonly opaqueReason: string;
  readonly ramEnded: boolean;
  /** Bytes by name. */
  readonly blocks: Readonly<Record<string, number>>;
}

/** For tests: reads a connection in pieces of so many bytes and writes it again. */
export function qemuRoundTrip(
  bytes: Uint8Array,
  pieceBytes: number,
  connection: 'main' | 'multifd',
): QemuStreamAccount {
  return addon.qemuRoundTrip(bytes, pieceBytes, connection === 'multifd');
}
