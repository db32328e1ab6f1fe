/** What a replica tells about itself, by hosts' names. */
import type { RaftStatus } from '../protocols/raft/types.ts';
import { DwcpError } from '../util/errors.ts';
import type { ReplicaStatus } from './replica-messages.ts';
import type { ReplicaOptions } from './replica-options.ts';

/** Without a leader everybody asks for votes several times in this time, and is answered. */
const HEARD_WITHIN_ELECTIONS = 8;

export class ReplicaView {
  readonly #options: ReplicaOptions;
  readonly #hosts: ReadonlyMap<number, string>;
  readonly #heardUs = new Map<string, number>();
  readonly #heardWithinUs: number;

  constructor(options: ReplicaOptions, ids: ReadonlyMap<string, number>, electionUs: number) {
    this.#options = options;
    this.#hosts = new Map([...ids].map(([host, id]) => [id, host]));
    this.#heardWithinUs = HEARD_WITHIN_ELECTIONS * electionUs;
  }

  /** Null for a member that no host here is known for. */
  hostOf(id: number): string | null {
    return this.#hosts.get(id) ?? null;
  }

  heard(host: string, nowUs: number): void {
    this.#heardUs.set(host, nowUs);
  }

  lost(host: string): void {
    this.#heardUs.delete(host);
  }

  status(
    raft: RaftStatus,
    phase: ReplicaStatus['phase'],
    waiting: { readonly count: number; readonly bytes: number },
    nowUs: number,
  ): ReplicaStatus {
    const { group, self } = this.#options;
    const { configuration, leader } = raft;
    const ids = new Set([...configuration.voters, ...configuration.votersOutgoing]);
    const voters = [...ids].map((id) => this.hostOf(id) ?? `replica ${id}`).sort();
    const asks = phase === 'running' && (leader === null || raft.role === 'leader');
    const missing = asks ? voters.filter((host) => this.#isMissing(host, nowUs)) : [];
    return {
      ...{ group, self, phase, role: raft.role, term: raft.term },
      leader: leader === null ? null : this.hostOf(leader),
      ...{ voters, missing },
      commitIndex: raft.commitIndex,
      appliedIndex: raft.appliedIndex,
      waitingProposals: waiting.count,
      waitingBytes: waiting.bytes,
      problem: problemOf(phase, raft, voters.length, missing),
    };
  }

  #isMissing(host: string, nowUs: number): boolean {
    if (host === this.#options.self) return false;
    const heardUs = this.#heardUs.get(host);
    return heardUs === undefined || nowUs - heardUs > this.#heardWithinUs;
  }
}

function problemOf(
  phase: ReplicaStatus['phase'],
  raft: RaftStatus,
  voters: number,
  missing: readonly string[],
): string | null {
  if (phase === 'halted') return `this replica has stopped: ${raft.halted}`;
  if (phase === 'loading') return 'this replica is still reading its snapshot';
  if (raft.leader !== null) return null;
  if (missing.length === 0) return 'no leader is elected yet';
  const heard = voters - missing.length;
  const silent = `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not heard`;
  if (2 * heard > voters) return `no leader is elected yet; ${silent}`;
  return `no majority: ${silent}, and ${heard} of ${voters} hosts are not enough`;
}

/** Patience is over: who is missing, or who did not get it done. */
export function noQuorum({ group, problem, leader, missing }: ReplicaStatus): DwcpError {
  const silent = missing.length === 0 ? '' : `; ${missing.join(', ')} not heard`;
  const why = problem ?? `its leader ${leader} did not get it done in time${silent}`;
  return new DwcpError('ERR_DWCP_NO_QUORUM', `the group "${group}" gave no answer: ${why}`, {
    hint:
      missing.length === 0
        ? 'What was proposed may still be applied later.'
        : `Bring back ${missing.join(' or ')}. What was proposed may still be applied later.`,
  });
}
