/**
 * The conversation of one migration between its wire form and the machines' form. Everything that
 * comes from a peer is checked here once; what does not fit is `ERR_DWCP_PROTOCOL`.
 */
import { dwcp } from '#wire';
import type { IncomingEndpoint } from '../ports/hypervisor.ts';
import { PAGE_DIGEST_BYTES, PAGE_HASH_BYTES } from '../ports/memory.ts';
import {
  DIGEST_BLOCK_PAGES,
  HELD_BLOCK_PAGES,
  type MigrationMessage,
  type MigrationTerms,
  RESUME_GRACE_MS_MAX,
  type VerifyMode,
} from '../protocols/migration/types.ts';
import { unreachable } from '../util/assert.ts';
import { DwcpError, type ErrorCode, failed, type Outcome, succeeded } from '../util/errors.ts';

const JSON_BYTES_MAX = 64 * 1024;
const MACHINE_KEYS_MAX = 256;
const FIRST_DIFFERENT_MAX = 64;

const VERIFY_TO_WIRE: Readonly<Record<VerifyMode, dwcp.VerifyMode>> = {
  after: dwcp.VerifyMode.VERIFY_AFTER,
  strict: dwcp.VerifyMode.VERIFY_STRICT,
  off: dwcp.VerifyMode.VERIFY_OFF,
};

export function sessionPath(migrationId: string): string {
  return `migration/${migrationId}`;
}

/** The migration an envelope is about, or null when it is about none. */
export function migrationIdOf(envelope: dwcp.IEnvelope): string | null {
  const match = /^migration\/([A-Za-z0-9._-]{1,64})$/.exec(envelope.to ?? '');
  return match?.[1] ?? null;
}

export function encodeMessage(migrationId: string, message: MigrationMessage): dwcp.IEnvelope {
  const path = sessionPath(migrationId);
  const traceId = new TextEncoder().encode(migrationId);
  return { from: path, to: path, correlation: 0, traceId, ...payload(migrationId, message) };
}

function payload(migrationId: string, message: MigrationMessage): dwcp.IEnvelope {
  switch (message.type) {
    case 'prepareRequest': {
      return { prepareRequest: encodeTerms(message.terms) };
    }
    case 'prepareReply': {
      const { outcome } = message;
      if (outcome.ok) {
        return { prepareReply: { migrationId, endpointJson: JSON.stringify(outcome.value) } };
      }
      const { code, message: text, hint } = outcome.error;
      return {
        prepareReply: { migrationId, errorCode: code, errorMessage: text, errorHint: hint ?? '' },
      };
    }
    case 'roundDone':
      return {
        roundDone: {
          migrationId,
          round: message.round,
          sentPages: message.sentPages,
          remainingBytes: message.remainingBytes,
        },
      };
    case 'copied':
      return { copied: { migrationId } };
    case 'reattach':
      return { reattach: { migrationId } };
    case 'regain':
      return { regain: { migrationId } };
    case 'heldRequest': {
      const { firstPage, pageCount, key } = message;
      return { heldRequest: { migrationId, firstPage, pageCount, key } };
    }
    case 'heldPages':
      return {
        heldPages: { migrationId, firstPage: message.firstPage, hashes: message.hashes },
      };
    case 'loaded':
      return { loaded: { migrationId } };
    case 'fenced':
      return { fenced: { migrationId, epoch: message.epoch, postcopy: message.postcopy } };
    case 'resumed':
      return { resumed: { migrationId } };
    case 'resumedQuery':
      return { resumedQuery: { migrationId } };
    case 'abort':
      return { abort: { migrationId, errorCode: message.errorCode, reason: message.reason } };
    case 'digestBlock': {
      const { firstPage, digests, last } = message;
      return { digestBlock: { migrationId, firstPage, digests, last } };
    }
    case 'verifyResult':
      return {
        verifyResult: {
          migrationId,
          comparedPages: message.comparedPages,
          differentPages: message.differentPages,
          firstDifferent: [...message.firstDifferent],
        },
      };
    case 'migrationFailed': {
      const { code, message: text, hint } = message.error;
      return { migrationFailed: { migrationId, errorCode: code, message: text, hint: hint ?? '' } };
    }
    default:
      return unreachable(message);
  }
}

export function encodeTerms(terms: MigrationTerms): dwcp.IPrepareRequest {
  const { verify, machine, ...plain } = terms;
  return { ...plain, machine: { ...machine }, verify: VERIFY_TO_WIRE[verify] };
}

/** Null for payloads that are no concern of the machines, such as a link's own. */
export function decodeMessage(
  migrationId: string,
  envelope: dwcp.IEnvelope,
): Outcome<MigrationMessage | null> {
  try {
    return succeeded(decode(migrationId, envelope));
  } catch (error) {
    if (error instanceof DwcpError) return failed(error);
    throw error;
  }
}

function decode(migrationId: string, envelope: dwcp.IEnvelope): MigrationMessage | null {
  if (envelope.prepareRequest) {
    return { type: 'prepareRequest', terms: decodeTerms(migrationId, envelope.prepareRequest) };
  }
  if (envelope.prepareReply) return decodeReply(envelope.prepareReply);
  if (envelope.roundDone) {
    const { round, sentPages, remainingBytes } = envelope.roundDone;
    return {
      type: 'roundDone',
      round: integer(round, 'round'),
      sentPages: integer(sentPages, 'sentPages'),
      remainingBytes: integer(remainingBytes, 'remainingBytes'),
    };
  }
  if (envelope.copied) return { type: 'copied' };
  if (envelope.reattach) return { type: 'reattach' };
  if (envelope.regain) return { type: 'regain' };
  if (envelope.heldRequest) return decodeHeldRequest(envelope.heldRequest);
  if (envelope.heldPages) return decodeHeldPages(envelope.heldPages);
  if (envelope.loaded) return { type: 'loaded' };
  if (envelope.fenced) {
    const { epoch, postcopy } = envelope.fenced;
    return { type: 'fenced', epoch: integer(epoch, 'epoch'), postcopy: postcopy ?? false };
  }
  if (envelope.resumed) return { type: 'resumed' };
  if (envelope.resumedQuery) return { type: 'resumedQuery' };
  if (envelope.abort) {
    const { errorCode, reason } = envelope.abort;
    return { type: 'abort', errorCode: errorCode ?? '', reason: reason ?? '' };
  }
  if (envelope.digestBlock) return decodeDigestBlock(envelope.digestBlock);
  if (envelope.verifyResult) {
    const { comparedPages, differentPages, firstDifferent } = envelope.verifyResult;
    return {
      type: 'verifyResult',
      comparedPages: integer(comparedPages, 'comparedPages'),
      differentPages: integer(differentPages, 'differentPages'),
      firstDifferent: (firstDifferent ?? [])
        .slice(0, FIRST_DIFFERENT_MAX)
        .map((page) => integer(page, 'firstDifferent')),
    };
  }
  if (envelope.migrationFailed) {
    const { errorCode, message, hint } = envelope.migrationFailed;
    return { type: 'migrationFailed', error: peerError(errorCode, message, hint) };
  }
  return null;
}

function decodeHeldRequest({ firstPage, pageCount, key }: dwcp.IHeldRequest): MigrationMessage {
  return {
    type: 'heldRequest',
    firstPage: integer(firstPage, 'firstPage'),
    pageCount: integer(pageCount, 'pageCount'),
    key: key ?? new Uint8Array(),
  };
}

function decodeHeldPages(held: dwcp.IHeldPages): MigrationMessage {
  const hashes = held.hashes ?? new Uint8Array();
  check(hashes.length <= HELD_BLOCK_PAGES * PAGE_HASH_BYTES, `${hashes.length} bytes of hashes`);
  return { type: 'heldPages', firstPage: integer(held.firstPage, 'firstPage'), hashes };
}

export function decodeTerms(migrationId: string, request: dwcp.IPrepareRequest): MigrationTerms {
  const { guestKind, guestName, pageBytes, launchJson } = request;
  const machine = request.machine ?? {};
  check(guestKind === 'memory' || guestKind === 'qemu', `guest kind "${guestKind}"`);
  check(/^[A-Za-z0-9._-]{1,64}$/.test(guestName ?? ''), `guest name "${guestName}"`);
  check(pageBytes === 4096, `page size ${pageBytes}`);
  check(Object.keys(machine).length <= MACHINE_KEYS_MAX, 'too many machine keys');
  const memoryBytes = integer(request.memoryBytes, 'memoryBytes');
  check(memoryBytes > 0 && memoryBytes % 4096 === 0, `memory of ${memoryBytes} bytes`);
  json(launchJson ?? '{}');
  const verify = (['after', 'strict', 'off'] as const).find(
    (mode) => VERIFY_TO_WIRE[mode] === (request.verify ?? VERIFY_TO_WIRE.after),
  );
  check(verify !== undefined, `verify mode ${request.verify}`);
  return {
    migrationId,
    guestName: guestName ?? '',
    guestKind: guestKind === 'qemu' ? 'qemu' : 'memory',
    transferId: integer(request.transferId, 'transferId'),
    epoch: integer(request.epoch, 'epoch'),
    memoryBytes,
    pageBytes: 4096,
    machine,
    launchJson: launchJson ?? '{}',
    maxDowntimeMs: integer(request.maxDowntimeMs, 'maxDowntimeMs'),
    resumeGraceMs: resumeGrace(request.resumeGraceMs),
    verify: verify ?? 'after',
    allowPostcopy: request.allowPostcopy ?? false,
  };
}

function decodeReply(reply: dwcp.IPrepareReply): MigrationMessage {
  if (reply.errorCode) {
    const error = peerError(reply.errorCode, reply.errorMessage, reply.errorHint);
    return { type: 'prepareReply', outcome: failed(error) };
  }
  const endpoint = json(reply.endpointJson ?? '{}') as IncomingEndpoint;
  return { type: 'prepareReply', outcome: succeeded(endpoint) };
}

function decodeDigestBlock(block: dwcp.IDigestBlock): MigrationMessage {
  const digests = block.digests ?? new Uint8Array();
  check(
    digests.length > 0 &&
      digests.length % PAGE_DIGEST_BYTES === 0 &&
      digests.length <= DIGEST_BLOCK_PAGES * PAGE_DIGEST_BYTES,
    `digest block of ${digests.length} bytes`,
  );
  return {
    type: 'digestBlock',
    firstPage: integer(block.firstPage, 'firstPage'),
    digests,
    last: block.last ?? false,
  };
}

function peerError(
  code: string | null | undefined,
  message: string | null | undefined,
  hint: string | null | undefined,
): DwcpError {
  const isCode = /^ERR_DWCP_[A-Z_]{1,40}$/.test(code ?? '');
  return new DwcpError(
    isCode ? (code as ErrorCode) : 'ERR_DWCP_PROTOCOL',
    (message ?? '').slice(0, 2000),
    hint ? { hint: hint.slice(0, 2000) } : {},
  );
}

function json(text: string): Readonly<Record<string, unknown>> {
  check(text.length <= JSON_BYTES_MAX, 'a JSON field over 64 KiB');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  check(typeof value === 'object' && value !== null && !Array.isArray(value), 'a bad JSON field');
  return value as Readonly<Record<string, unknown>>;
}

/** A source has no say over more than an hour of this host's memory. */
function resumeGrace(value: number | null | undefined): number {
  return Math.min(RESUME_GRACE_MS_MAX, integer(value, 'resumeGraceMs'));
}

function integer(value: number | null | undefined, name: string): number {
  const number = value ?? 0;
  check(Number.isSafeInteger(number) && number >= 0, `${name} ${number}`);
  return number;
}

function check(condition: boolean, what: string): void {
  if (!condition) throw new DwcpError('ERR_DWCP_PROTOCOL', `the peer sent ${what}`);
}
