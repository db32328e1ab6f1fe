/**
 * The conversation of a consensus group in its wire form. What comes back from a peer is checked in
 * `raft-wire-decode.ts`.
 */
import { dwcp } from '#wire';
import type {
  AppendRequest,
  Configuration,
  Entry,
  Message,
  RejectionCode,
  Snapshot,
} from '../protocols/raft/types.ts';
import { unreachable } from '../util/assert.ts';

/** What may happen to a command that was sent to another host's replica. */
export type ForwardRejection = Extract<
  RejectionCode,
  'notLeader' | 'transferring' | 'uncommittedLimit' | 'tooLarge' | 'halted'
>;

export interface RejectedProposal {
  readonly requestId: number;
  readonly code: ForwardRejection;
}

export const REJECTION_TO_WIRE: Readonly<Record<ForwardRejection, dwcp.RaftRejectionCode>> = {
  notLeader: dwcp.RaftRejectionCode.RAFT_REJECTION_NOT_LEADER,
  transferring: dwcp.RaftRejectionCode.RAFT_REJECTION_TRANSFERRING,
  uncommittedLimit: dwcp.RaftRejectionCode.RAFT_REJECTION_UNCOMMITTED_LIMIT,
  tooLarge: dwcp.RaftRejectionCode.RAFT_REJECTION_TOO_LARGE,
  halted: dwcp.RaftRejectionCode.RAFT_REJECTION_HALTED,
};

export function isForwardRejection(code: RejectionCode): code is ForwardRejection {
  return code in REJECTION_TO_WIRE;
}

export function replicaPath(group: string): string {
  return `replica/${group}`;
}

/** The group an envelope is about, as it says, or null when it is about none. */
export function raftGroupOf(envelope: dwcp.IEnvelope): string | null {
  const { raftMessage, raftProposals, raftRejections } = envelope;
  const payload = raftMessage ?? raftProposals ?? raftRejections ?? null;
  return payload === null ? null : (payload.group ?? '');
}

export function encodeProposals(
  group: string,
  proposals: readonly dwcp.IRaftProposal[],
): dwcp.IEnvelope {
  const path = replicaPath(group);
  return { from: path, to: path, raftProposals: { group, proposals: proposals as never[] } };
}

export function encodeRejections(
  group: string,
  leader: number | null,
  rejected: readonly RejectedProposal[],
): dwcp.IEnvelope {
  const path = replicaPath(group);
  const rejections = rejected.map(({ requestId, code }) => ({
    requestId,
    code: REJECTION_TO_WIRE[code],
  }));
  return { from: path, to: path, raftRejections: { group, leader: leader ?? 0, rejections } };
}

export function encodeRaftMessage(group: string, message: Message): dwcp.IEnvelope {
  const path = replicaPath(group);
  const raftMessage: dwcp.IRaftMessage = bodyOf(message);
  raftMessage.group = group;
  raftMessage.from = message.from;
  raftMessage.to = message.to;
  raftMessage.term = message.term;
  return { from: path, to: path, raftMessage };
}

function bodyOf(message: Message): dwcp.IRaftMessage {
  switch (message.type) {
    case 'appendRequest':
      return { appendRequest: appendRequest(message) };
    case 'appendReply': {
      const { round, matchIndex, refused } = message;
      if (refused === null) return { appendReply: { round, matchIndex } };
      const { previousIndex, hintIndex, hintTerm, damaged } = refused;
      const hint = { index: hintIndex, term: hintTerm };
      return { appendReply: { round, matchIndex, refused: { previousIndex, hint, damaged } } };
    }
    case 'heartbeat':
      return { heartbeat: { commit: message.commit, round: message.round } };
    case 'heartbeatReply':
      return { heartbeatReply: message.round };
    case 'preVoteRequest':
      return { preVoteRequest: { index: message.lastIndex, term: message.lastTerm } };
    case 'preVoteReply':
      return { preVoteReply: { granted: message.granted, damaged: message.damaged } };
    case 'voteRequest': {
      const last = { index: message.lastIndex, term: message.lastTerm };
      const { transfer, unanimous } = message;
      return { voteRequest: { last, transfer, unanimous } };
    }
    case 'voteReply':
      return { voteReply: message.granted };
    case 'snapshotOffer': {
      const { snapshot, round } = message;
      return { snapshotOffer: { snapshot: snapshotOf(snapshot), round } };
    }
    case 'snapshotChunk': {
      const { snapshot, offset, data, round } = message;
      return { snapshotChunk: { snapshot: snapshotOf(snapshot), offset, data, round } };
    }
    case 'snapshotReply': {
      const { index, digest, receivedBytes, installed, round } = message;
      return { snapshotReply: { index, digest, receivedBytes, installed, round } };
    }
    case 'timeoutNow':
      return { timeoutNow: {} };
    case 'readIndexRequest': {
      const { incarnation, requestId } = message;
      return { readIndexRequest: { incarnation, requestId } };
    }
    case 'readIndexReply': {
      const { incarnation, requestId, index } = message;
      return { readIndexReply: { incarnation, requestId, index } };
    }
    default:
      return unreachable(message);
  }
}

function appendRequest(message: AppendRequest): dwcp.IRaftAppendRequest {
  const { previousIndex, previousTerm, commit, round } = message;
  const previous = { index: previousIndex, term: previousTerm };
  return { previous, entries: message.entries.map(entryOf), commit, round };
}

function entryOf(entry: Entry): dwcp.IRaftEntry {
  const { term } = entry;
  if (entry.kind === 'command') return { term, command: entry.data };
  if (entry.kind === 'noop') return { term };
  return { term, configuration: configurationOf(entry.configuration) };
}

function snapshotOf({ index, term, configuration, sizeBytes, digest }: Snapshot): {
  index: number;
  term: number;
  configuration: dwcp.IRaftConfiguration;
  sizeBytes: number;
  digest: string;
} {
  return { index, term, configuration: configurationOf(configuration), sizeBytes, digest };
}

function configurationOf(configuration: Configuration): dwcp.IRaftConfiguration {
  return {
    voters: [...configuration.voters],
    votersOutgoing: [...configuration.votersOutgoing],
    learners: [...configuration.learners],
    learnersNext: [...configuration.learnersNext],
    autoLeave: configuration.autoLeave,
  };
}
