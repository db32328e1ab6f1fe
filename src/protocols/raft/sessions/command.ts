/**
 * What a client's command looks like in the log: who asks, which of its commands this is, and up to
 * where it has the answers. One encoding only, because snapshots that hold it are compared by digest.
 *
 *   open   00 | nonce (16 bytes, or none)
 *   run    01 | session u64 | sequence u64 | answered u64 | command...
 *   close  02 | session u64
 */
import { assert, assertSafeInteger } from '../../../util/assert.ts';

export type SessionCommand =
  /** The session's id is the index at which this is applied. By its nonce a client knows its own. */
  | { readonly kind: 'open'; readonly nonce?: Uint8Array }
  | RunCommand
  | { readonly kind: 'close'; readonly session: number };

export interface RunCommand {
  readonly kind: 'run';
  readonly session: number;
  /** 1, 2, 3, ... per session. */
  readonly sequence: number;
  /** The client has the answers of all commands up to this one and will not ask again. */
  readonly answeredThrough: number;
  readonly command: Uint8Array;
}

const OPEN = 0;
const RUN = 1;
const CLOSE = 2;
const U64_BYTES = 8;
const RUN_HEADER_BYTES = 1 + 3 * U64_BYTES;
const HIGH = 2 ** 32;
export const NONCE_BYTES = 16;

export function encodeSessionCommand(command: SessionCommand): Uint8Array {
  if (command.kind === 'open') {
    const { nonce } = command;
    assert(nonce === undefined || nonce.length === NONCE_BYTES, 'a nonce has its length');
    return Uint8Array.of(OPEN, ...(nonce ?? []));
  }
  if (command.kind === 'close') {
    const bytes = new Uint8Array(1 + U64_BYTES);
    bytes[0] = CLOSE;
    putU64(bytes, 1, command.session);
    return bytes;
  }
  const bytes = new Uint8Array(RUN_HEADER_BYTES + command.command.length);
  putRunCommand(bytes, 0, command);
  return bytes;
}

/** Where many go to the log at once they share one buffer. */
export function putRunCommand(bytes: Uint8Array, at: number, command: RunCommand): void {
  bytes[at] = RUN;
  putU64(bytes, at + 1, command.session);
  putU64(bytes, at + 9, command.sequence);
  putU64(bytes, at + 17, command.answeredThrough);
  bytes.set(command.command, at + RUN_HEADER_BYTES);
}

/** Null for bytes that no encoder of ours wrote: every replica sees the same and ignores them. */
export function decodeSessionCommand(bytes: Uint8Array): SessionCommand | null {
  switch (bytes[0]) {
    case OPEN:
      if (bytes.length === 1) return { kind: 'open' };
      return bytes.length === 1 + NONCE_BYTES ? { kind: 'open', nonce: bytes.subarray(1) } : null;
    case CLOSE: {
      const session = bytes.length === 1 + U64_BYTES ? getU64(bytes, 1) : null;
      return session === null ? null : { kind: 'close', session };
    }
    case RUN: {
      if (bytes.length < RUN_HEADER_BYTES) return null;
      const session = getU64(bytes, 1);
      const sequence = getU64(bytes, 9);
      const answeredThrough = getU64(bytes, 17);
      if (session === null || sequence === null || answeredThrough === null) return null;
      const command = bytes.subarray(RUN_HEADER_BYTES);
      return { kind: 'run', session, sequence, answeredThrough, command };
    }
    default:
      return null;
  }
}

/** The sequence, if this is a command to run in `session`: for whoever looks for its own only. */
export function sequenceIn(session: number, bytes: Uint8Array): number | null {
  if (bytes[0] !== RUN || bytes.length < RUN_HEADER_BYTES) return null;
  return getU64(bytes, 1) === session ? getU64(bytes, 9) : null;
}

/** What a command's bytes grow by. */
export const SESSION_OVERHEAD_BYTES: number = RUN_HEADER_BYTES;

export function putU64(bytes: Uint8Array, at: number, value: number): void {
  assertSafeInteger(value, 'a number in a session command');
  putU32(bytes, at, Math.floor(value / HIGH));
  putU32(bytes, at + 4, value);
}

/** Byte by byte: a view of its own for each number costs more than the number. */
function putU32(bytes: Uint8Array, at: number, value: number): void {
  const low = value >>> 0;
  bytes[at] = low >>> 24;
  bytes[at + 1] = low >>> 16;
  bytes[at + 2] = low >>> 8;
  bytes[at + 3] = low;
}

export function getU64(bytes: Uint8Array, at: number): number | null {
  if (at + U64_BYTES > bytes.length) return null;
  const value = getU32(bytes, at) * HIGH + getU32(bytes, at + 4);
  return Number.isSafeInteger(value) ? value : null;
}

function getU32(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
  return high * 256 + (bytes[at + 3] ?? 0);
}
