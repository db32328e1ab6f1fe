import type {
  OwnershipAnswer,
  OwnershipCommand,
  VmOwnership,
} from '../protocols/ownership/types.ts';
import type { Completion } from '../util/errors.ts';

/**
 * The replicated word on who may run which VM, as one host sees it. Only what this host has
 * **applied** counts: no read, no time-out and no error ever lets a guest run.
 */
export interface Ownership {
  /**
   * Answered when this host has applied the command. Without a majority it is proposed again and
   * again; after `patienceMs` the answer is `ERR_DWCP_NO_QUORUM`, and the command may still be applied
   * later. Null waits for ever: what a fenced guest needs. Full is `ERR_DWCP_LIMIT`.
   */
  propose(
    command: OwnershipCommand,
    patienceMs: number | null,
    done: Completion<OwnershipAnswer>,
  ): void;
  /** As of what this host has applied, which may be old: for status, and for what only refuses. */
  get(vm: string): VmOwnership | null;
  list(): readonly VmOwnership[];
  /** After each applied command that changed a VM, in log order; also for what a snapshot brought. */
  onChange(listener: (vm: string, now: VmOwnership | null) => void): void;
  group(): GroupView;
}

export interface GroupView {
  readonly voters: readonly string[];
  readonly leader: string | null;
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  /** Null while a leader is known; else what is missing, for people. */
  readonly problem: string | null;
}
