/**
 * One error class with a stable code. A code exists only where some caller can react to it;
 * the message says what was wrong and where, the hint says what to do.
 */
export type ErrorCode =
  | 'ERR_DWCP_USAGE' // wrong command line: exit 2
  | 'ERR_DWCP_CONFIG' // configuration refused: names the key's path and the allowed values
  | 'ERR_DWCP_IDENTITY' // key or certificate missing, unreadable, wrong or not signed by our CA
  | 'ERR_DWCP_VERSION' // no common protocol version
  | 'ERR_DWCP_FEATURE' // the peer requires a feature that we do not know; names it
  | 'ERR_DWCP_PROTOCOL' // malformed or out-of-order bytes from a peer, a file or QEMU
  | 'ERR_DWCP_CORRUPT' // a checksum did not match
  | 'ERR_DWCP_PEER_UNREACHABLE' // the peer cannot be reached, or the link was lost
  | 'ERR_DWCP_PEER_UNKNOWN' // no such node in the configuration
  | 'ERR_DWCP_LISTEN' // an address is taken or not ours
  | 'ERR_DWCP_NATIVE' // the native addon refused; carries errno
  | 'ERR_DWCP_UNSUPPORTED' // this machine or guest cannot do that; says what would
  | 'ERR_DWCP_LIMIT' // a configured bound was reached: full is an answer
  | 'ERR_DWCP_GUEST_UNKNOWN' // no such guest on this host
  | 'ERR_DWCP_GUEST_STATE' // the guest is in a state that does not allow this
  | 'ERR_DWCP_GUEST_FAILED' // the guest's process died or its control socket failed
  | 'ERR_DWCP_QEMU_MISSING' // no usable qemu-system; says how to get one
  | 'ERR_DWCP_QMP' // QEMU refused a QMP command
  | 'ERR_DWCP_INCOMPATIBLE' // preflight: machine type, CPU model, RAM blocks, page size differ
  | 'ERR_DWCP_NO_ROOM' // preflight: the destination lacks memory
  | 'ERR_DWCP_LOCAL_DISK' // preflight: a writable local disk not declared shared
  | 'ERR_DWCP_NOT_CONVERGING' // the guest dirties faster than the link carries, and policy says abort
  | 'ERR_DWCP_CANCELLED' // the operator cancelled
  | 'ERR_DWCP_MIGRATION_UNKNOWN' // no such migration
  | 'ERR_DWCP_OUTCOME_UNKNOWN' // fenced was sent, and this host has not applied whose the guest is, or not heard that it runs
  | 'ERR_DWCP_NO_QUORUM' // the group has no majority here: what runs goes on, nothing starts or moves
  | 'ERR_DWCP_NOT_OWNER' // the replicated log says that another host owns the VM
  | 'ERR_DWCP_VERIFY_FAILED' // source memory and landed pages differ
  | 'ERR_DWCP_STORAGE' // disk full, permission, fsync failure in the data directory
  | 'ERR_DWCP_TIMEOUT'
  | 'ERR_DWCP_CLOSED'; // used after it was stopped

export interface DwcpErrorOptions {
  /** What the reader can do about it, as a full sentence. */
  readonly hint?: string;
  readonly cause?: unknown;
  /** Linux errno name such as `ENOSPC`, where the kernel said it. */
  readonly errno?: string;
}

export class DwcpError extends Error {
  override readonly name = 'DwcpError';
  readonly code: ErrorCode;
  readonly hint: string | null;
  readonly errno: string | null;

  constructor(code: ErrorCode, message: string, options: DwcpErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint ?? null;
    this.errno = options.errno ?? null;
  }
}

/** An expected outcome is a value, not an exception. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: DwcpError };

export function succeeded<T>(value: T): Outcome<T> {
  return { ok: true, value };
}

export function failed<T = never>(error: DwcpError): Outcome<T> {
  return { ok: false, error };
}

/** What a port calls exactly once when asked work is done. Never called inside the asking call. */
export type Completion<T> = (outcome: Outcome<T>) => void;
