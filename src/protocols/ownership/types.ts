/**
 * Who may run a VM, as a replicated machine: what goes into the log, what it answers, what it knows.
 *
 * Per VM there is one owner under one epoch and at most one migration. `commit` and `abort` are
 * conditional on (vm, epoch, migrationId); the first of them in the log wins and the other changes
 * nothing. No command carries a clock, and none takes a VM from a host by itself: ownership leaves a
 * host by a migration that this host fenced for, or by an operator's claim.
 */

/** Hosts are named by node id; `epoch` grows by one with every change of the owner. */
export interface VmOwnership {
  readonly vm: string;
  readonly owner: string;
  readonly epoch: number;
  /** How the owner came to own it under this epoch. */
  readonly by: OwnershipOrigin;
  /** Prepared and neither committed nor aborted. */
  readonly migration: PreparedMigration | null;
}

export type OwnershipOrigin =
  | { readonly type: 'registered' }
  | { readonly type: 'migrated'; readonly migrationId: string; readonly from: string }
  | { readonly type: 'claimed'; readonly operator: string; readonly from: string };

export interface PreparedMigration {
  readonly migrationId: string;
  readonly to: string;
}

/**
 * Every command is idempotent: proposed twice, it answers the second time what it answered the first,
 * as long as nothing else happened to the VM.
 */
export type OwnershipCommand =
  /** The VM is new, or `host` owns it already. Epoch 1, or above that of every VM that is gone. */
  | { readonly type: 'register'; readonly vm: string; readonly host: string }
  /** Its guest ended on the host that owns it. A prepared migration must be aborted first. */
  | {
      readonly type: 'unregister';
      readonly vm: string;
      readonly host: string;
      readonly epoch: number;
    }
  /** By the owner, before the first byte moves. `epoch` is the owner's present one. */
  | {
      readonly type: 'prepare';
      readonly vm: string;
      readonly epoch: number;
      readonly migrationId: string;
      readonly from: string;
      readonly to: string;
    }
  /** By the destination alone, which holds `fenced` and every page: it owns the VM under epoch + 1. */
  | {
      readonly type: 'commit';
      readonly vm: string;
      readonly epoch: number;
      readonly migrationId: string;
      readonly host: string;
    }
  /** By either side of the migration. The owner stays. */
  | {
      readonly type: 'abort';
      readonly vm: string;
      readonly epoch: number;
      readonly migrationId: string;
      readonly host: string;
      readonly reason: string;
    }
  /** An operator says that the owner under `epoch` is dead or fenced: `host` owns the VM under epoch + 1. */
  | {
      readonly type: 'claim';
      readonly vm: string;
      readonly epoch: number;
      readonly host: string;
      readonly operator: string;
    }
  /**
   * An agent begins a life of its data directory: `life` is one more than the last it remembers, and
   * `nonce` tells this life from that of a copy of the directory.
   */
  | {
      readonly type: 'begin';
      readonly host: string;
      readonly life: number;
      readonly nonce: string;
    };

export type OwnershipRefusal =
  | 'unknownVm'
  | 'otherOwner'
  | 'otherEpoch'
  | 'otherMigration'
  | 'migrationPrepared'
  | 'migrationDecided'
  | 'notDestination'
  | 'sameHost'
  | 'clonedDirectory'
  /** The table of VMs or hosts has its most entries. */
  | 'full';

/** `vm` is the state after the command, null when there is no such VM (any more). */
export type OwnershipAnswer =
  | { readonly ok: true; readonly vm: VmOwnership | null }
  | { readonly ok: false; readonly code: OwnershipRefusal; readonly vm: VmOwnership | null };
