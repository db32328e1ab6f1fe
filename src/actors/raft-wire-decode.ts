/**
 * What a peer says in a consensus group, checked once: numbers, lengths and order, and that it speaks
 * for itself. Whatever comes, the core gets a message that an honest replica could have sent, or none.
 */
import type { dwcp } from '#wire';
import type { Command, Configuration, Entry, Message, Snapshot } from '../protocols/raft/types.ts';
import { DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';
import { type ForwardRejection, REJECTION_TO_WIRE, type RejectedProposal } from './raft-wire.ts';

export type RaftPayload =
  | { readonly type: 'message'; readonly message: Message }
  | { readonly type: 'proposals'; readonly proposals: readonly Command[] }
  | {
      readonly type: 'rejections';
      readonly leader: number | null;
      readonly rejections: readonly RejectedProposal[];
    };

/** Who is allowed to have sent it, and to whom. */
export interface RaftAddress {
  readonly group: string;
  readonly peer: number;
  readonly self: number;
}

/** Far above what any group reaches; sums of two stay exact. */
const NUMBER_MAX = 2 ** 48;
const MEMBERS_MAX = 1024;
const ITEMS_MAX = 65_536;
const SNAPSHOT_BYTES_MAX = 2 ** 40;
const DIGEST = /^[0-9a-f]{64}$/;

/** Null for payloads that are no concern of a replica; `ERR_DWCP_PROTOCOL` for what no replica says. */
export function decodeRaft(
  envelope: dwcp.IEnvelope,
  address: RaftAddress,
): Outcome<RaftPayload | null> {
  try {
    return succeeded(decode(envelope, address));
  } catch (error) {
    if (error instanceof DwcpError) return failed(error);
    throw error;
  }
}

function decode(envelope: dwcp.IEnvelope, address: RaftAddress): RaftPayload | null {
  const { raftMessage, raftProposals, raftRejections } = envelope;
  if (raftMessage) {
    checkGroup(raftMessage.group, address);
    return { type: 'message', message: decodeMessage(raftMessage, address) };
  }
  if (raftProposals) {
    checkGroup(raftProposals.group, address);
    return { type: 'proposals', proposals: decodeProposals(raftProposals) };
  }
  if (raftRejections) {
    checkGroup(raftRejections.group, address);
    return decodeRejections(raftRejections);
  }
  return null;
}

function checkGroup(group: string | null | undefined, address: RaftAddress): void {
  check(group === address.group, () => `a message of group "${String(group).slice(0, 64)}"`);
}

function decodeMessage(wire: dwcp.IRaftMessage, address: RaftAddress): Message {
  const from = integer(wire.from, 'from', 1);
  const to = integer(wire.to, 'to', 1);
  check(from === address.peer, () => `a message in the name of replica ${from}`);
  check(to === address.self, () => `a message for replica ${to}`);
  // Who has never heard of an election refuses a pre-vote in term 0.
  const isRefusal = wire.preVoteReply != null && wire.preVoteReply.granted !== true;
  const term = integer(wire.term, 'term', isRefusal ? 0 : 1);
  return decodeBody(wire, { from, to, term });
}

interface Addressed {
  readonly from: number;
  readonly to: number;
  readonly term: number;
}

function decodeBody(wire: dwcp.IRaftMessage, addressed: Addressed): Message {
  const { appendRequest, appendReply, heartbeat, heartbeatReply } = wire;
  if (appendRequest) return decodeAppend(appendRequest, addressed);
  if (appendReply) return decodeAppendReply(appendReply, addressed);
  if (heartbeat) {
    const commit = integer(heartbeat.commit, 'commit');
    return { type: 'heartbeat', ...addressed, commit, round: integer(heartbeat.round, 'round') };
  }
  if (heartbeatReply != null) {
    return { type: 'heartbeatReply', ...addressed, round: integer(heartbeatReply, 'round') };
  }
  return decodeElection(wire, addressed) ?? decodeSnapshotting(wire, addressed);
}

function decodeElection(wire: dwcp.IRaftMessage, addressed: Addressed): Message | null {
  const { preVoteRequest, preVoteReply, voteRequest, voteReply } = wire;
  if (preVoteRequest) {
    const { index: lastIndex, term: lastTerm } = position(preVoteRequest, addressed.term);
    return { type: 'preVoteRequest', ...addressed, lastIndex, lastTerm };
  }
  if (preVoteReply) {
    const { granted, damaged } = preVoteReply;
    return {
      ...{ type: 'preVoteReply', ...addressed },
      ...{ granted: granted ?? false, damaged: damaged ?? false },
    };
  }
  if (voteRequest) {
    const { index: lastIndex, term: lastTerm } = position(voteRequest.last, addressed.term);
    const transfer = voteRequest.transfer ?? false;
    const unanimous = voteRequest.unanimous ?? false;
    return { type: 'voteRequest', ...addressed, lastIndex, lastTerm, transfer, unanimous };
  }
  if (voteReply != null) return { type: 'voteReply', ...addressed, granted: voteReply };
  if (wire.timeoutNow) return { type: 'timeoutNow', ...addressed };
  return null;
}

function decodeSnapshotting(wire: dwcp.IRaftMessage, addressed: Addressed): Message {
  const { snapshotOffer, snapshotChunk, snapshotReply } = wire;
  if (snapshotOffer) {
    const snapshot = decodeSnapshot(snapshotOffer.snapshot, addressed.term);
    return {
      ...{ type: 'snapshotOffer', ...addressed, snapshot },
      round: integer(snapshotOffer.round, 'round'),
    };
  }
  if (snapshotChunk) {
    const snapshot = decodeSnapshot(snapshotChunk.snapshot, addressed.term);
    const offset = integer(snapshotChunk.offset, 'offset');
    const data = snapshotChunk.data ?? new Uint8Array();
    const isInside = offset + data.length <= snapshot.sizeBytes;
    check(isInside && data.length > 0, () => `a chunk of ${data.length} bytes at ${offset}`);
    const round = integer(snapshotChunk.round, 'round');
    return { type: 'snapshotChunk', ...addressed, snapshot, offset, data, round };
  }
  if (snapshotReply) {
    return {
      ...{ type: 'snapshotReply', ...addressed },
      round: integer(snapshotReply.round, 'round'),
      index: integer(snapshotReply.index, 'index', 1),
      digest: digest(snapshotReply.digest),
      receivedBytes: integer(snapshotReply.receivedBytes, 'receivedBytes'),
      installed: snapshotReply.installed ?? false,
    };
  }
  return decodeReadIndex(wire, addressed);
}

function decodeReadIndex(wire: dwcp.IRaftMessage, addressed: Addressed): Message {
  const { readIndexRequest: request, readIndexReply: reply } = wire;
  const asked = request ?? reply;
  if (asked == null) throw problem('a message of no known type');
  const incarnation = integer(asked.incarnation, 'incarnation');
  const requestId = integer(asked.requestId, 'requestId');
  if (request) return { type: 'readIndexRequest', ...addressed, incarnation, requestId };
  const index = reply?.index == null ? null : integer(reply.index, 'index');
  return { type: 'readIndexReply', ...addressed, incarnation, requestId, index };
}

function decodeAppend(wire: dwcp.IRaftAppendRequest, addressed: Addressed): Message {
  const previous = position(wire.previous, addressed.term);
  const wireEntries = wire.entries ?? [];
  check(wireEntries.length <= ITEMS_MAX, () => `${wireEntries.length} entries in one message`);
  const entries: Entry[] = [];
  let { index, term: newest } = previous;
  for (const entry of wireEntries) {
    index += 1;
    const term = integer(entry.term, 'term of an entry', 1);
    check(term >= newest && term <= addressed.term, () => `an entry of term ${term}`);
    newest = term;
    entries.push(decodeEntry(entry, index, term));
  }
  check(index <= NUMBER_MAX, () => `an entry at ${index}`);
  return {
    type: 'appendRequest',
    ...addressed,
    previousIndex: previous.index,
    previousTerm: previous.term,
    entries,
    commit: integer(wire.commit, 'commit'),
    round: integer(wire.round, 'round'),
  };
}

function decodeEntry(wire: dwcp.IRaftEntry, index: number, term: number): Entry {
  const { command, configuration } = wire;
  if (command != null) return { kind: 'command', index, term, data: command };
  if (configuration == null) return { kind: 'noop', index, term };
  return { kind: 'configuration', index, term, configuration: decodeConfiguration(configuration) };
}

function decodeAppendReply(wire: dwcp.IRaftAppendReply, addressed: Addressed): Message {
  const round = integer(wire.round, 'round');
  const matchIndex = wire.matchIndex == null ? null : integer(wire.matchIndex, 'matchIndex');
  const refusal = wire.refused ?? null;
  check(matchIndex === null || refusal === null, () => 'an append taken and refused');
  if (refusal === null) {
    return { type: 'appendReply', ...addressed, round, matchIndex, refused: null };
  }
  const refused = {
    previousIndex: integer(refusal.previousIndex, 'previousIndex'),
    hintIndex: integer(refusal.hint?.index, 'hint'),
    hintTerm: integer(refusal.hint?.term, 'hint'),
    damaged: refusal.damaged ?? false,
  };
  return { type: 'appendReply', ...addressed, round, matchIndex, refused };
}

function decodeSnapshot(
  wire: dwcp.IRaftSnapshot | null | undefined,
  messageTerm: number,
): Snapshot {
  if (wire == null) throw problem('a snapshot without a name');
  const { index, term } = position(wire, messageTerm);
  check(index > 0, () => 'a snapshot of nothing');
  if (wire.configuration == null) throw problem('a snapshot without its group');
  const configuration = decodeConfiguration(wire.configuration);
  const sizeBytes = integer(wire.sizeBytes, 'sizeBytes', 1);
  check(sizeBytes <= SNAPSHOT_BYTES_MAX, () => `a snapshot of ${sizeBytes} bytes`);
  return { index, term, configuration, sizeBytes, digest: digest(wire.digest) };
}

function decodeConfiguration(wire: dwcp.IRaftConfiguration): Configuration {
  const voters = members(wire.voters);
  // A decision of nobody would be a decision of everybody.
  check(voters.size > 0, () => 'a group without voters');
  return {
    voters,
    votersOutgoing: members(wire.votersOutgoing),
    learners: members(wire.learners),
    learnersNext: members(wire.learnersNext),
    autoLeave: wire.autoLeave ?? false,
  };
}

function members(ids: readonly number[] | null | undefined): ReadonlySet<number> {
  const list = ids ?? [];
  check(list.length <= MEMBERS_MAX, () => `a group of ${list.length}`);
  const set = new Set(list.map((id) => integer(id, 'member', 1)));
  check(set.size === list.length, () => 'a member twice');
  return set;
}

function decodeProposals(wire: dwcp.IRaftProposals): readonly Command[] {
  const proposals = wire.proposals ?? [];
  check(proposals.length <= ITEMS_MAX, () => `${proposals.length} proposals in one message`);
  return proposals.map(({ requestId, data }) => ({
    requestId: integer(requestId, 'requestId'),
    data: data ?? new Uint8Array(),
  }));
}

const REJECTION_FROM_WIRE: ReadonlyMap<number, ForwardRejection> = new Map(
  (Object.keys(REJECTION_TO_WIRE) as ForwardRejection[]).map((code) => [
    REJECTION_TO_WIRE[code],
    code,
  ]),
);

function decodeRejections(wire: dwcp.IRaftRejections): RaftPayload {
  const list = wire.rejections ?? [];
  check(list.length <= ITEMS_MAX, () => `${list.length} rejections in one message`);
  const rejections = list.map((rejection) => {
    const requestId = integer(rejection.requestId, 'requestId');
    // A reason of a later version still says that it was not appended.
    const code = REJECTION_FROM_WIRE.get(rejection.code ?? 0) ?? 'uncommittedLimit';
    return { requestId, code };
  });
  const leader = integer(wire.leader, 'leader');
  return { type: 'rejections', leader: leader === 0 ? null : leader, rejections };
}

/** The end of a log: nothing has no term, and everything else has one, at most the sender's. */
function position(
  wire: { readonly index?: number | null; readonly term?: number | null } | null | undefined,
  messageTerm: number,
): { readonly index: number; readonly term: number } {
  const index = integer(wire?.index, 'index');
  const term = integer(wire?.term, 'term of an entry');
  const fits = (index === 0) === (term === 0) && term <= messageTerm;
  check(fits, () => `an entry ${index} of term ${term} in term ${messageTerm}`);
  return { index, term };
}

function digest(value: string | null | undefined): string {
  const text = value ?? '';
  check(DIGEST.test(text), () => 'a digest that is none');
  return text;
}

function integer(value: number | null | undefined, name: string, least: number = 0): number {
  const number = value ?? 0;
  const isOne = Number.isSafeInteger(number) && number >= least && number <= NUMBER_MAX;
  check(isOne, () => `${name} ${number}`);
  return number;
}

function check(condition: boolean, what: () => string): void {
  if (!condition) throw problem(what());
}

function problem(what: string): DwcpError {
  return new DwcpError('ERR_DWCP_PROTOCOL', `the peer sent ${what}`);
}
