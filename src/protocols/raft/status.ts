/** A copy of what an operator or a checker may look at. */
import type { ReplicaState } from './state.ts';
import type { PeerStatus, RaftStatus } from './types.ts';

export function statusOf(state: ReplicaState): RaftStatus {
  const { log, configurations } = state;
  return {
    id: state.id,
    role: state.role,
    term: state.term,
    vote: state.vote,
    leader: state.leader,
    configuration: configurations.current,
    configurationIndex: configurations.currentIndex,
    firstIndex: log.firstIndex,
    lastIndex: log.lastIndex,
    stableIndex: log.stableIndex,
    commitIndex: state.commit,
    appliedIndex: state.applied,
    snapshot: state.snapshot,
    uncommittedBytes: state.uncommittedBytes,
    peers: peersOf(state),
    transferTo: state.transfer?.to ?? null,
    halted: state.halted,
  };
}

function peersOf(state: ReplicaState): readonly PeerStatus[] {
  return [...state.peers.values()].map((peer) => ({
    id: peer.id,
    state: peer.state,
    matchIndex: peer.matchIndex,
    nextIndex: peer.nextIndex,
    inflightMessages: peer.inflights.messages,
    inflightBytes: peer.inflights.bytes,
    lastContactUs: peer.lastContactUs,
    snapshotBytesAcknowledged: peer.transfer?.acknowledgedBytes ?? 0,
  }));
}
