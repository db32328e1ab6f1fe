/** What an operator asks of the migrations of a node: begin, limit, cancel, claim. */
import type { MigrateOptions } from '../node.ts';
import type { GuestKind } from '../ports/hypervisor.ts';
import type { MigrationTerms } from '../protocols/migration/types.ts';
import type { OwnershipAnswer } from '../protocols/ownership/types.ts';
import { type Completion, DwcpError, failed, succeeded } from '../util/errors.ts';
import { nothingToClaim, tooLate } from './migration-shell.ts';
import { type Admission, unknownGuest } from './node-admission.ts';
import type { BandwidthTable } from './node-bandwidth.ts';
import type { GuestTable } from './node-guests.ts';
import type { LinkTable } from './node-links.ts';
import type { ClaimAnswered, MigrateCommand, NodeContext, NodeMessage } from './node-messages.ts';
import type { NodeActorOptions } from './node-options.ts';
import type { SessionTable } from './node-sessions.ts';

export const DEFAULT_MAX_DOWNTIME_MS = 300;

/** An operator waits for the answer. */
const CLAIM_PATIENCE_MS = 5_000;

export interface OperationParts {
  readonly options: NodeActorOptions;
  readonly guests: GuestTable;
  readonly sessions: SessionTable;
  readonly admission: Admission;
  readonly bandwidth: BandwidthTable;
  readonly links: LinkTable;
  /** Bytes per second of a migration that names no limit; 0 is unlimited. */
  readonly migrationBandwidth: number;
}

export class Operations {
  readonly #parts: OperationParts;

  constructor(parts: OperationParts) {
    this.#parts = parts;
  }

  migrate(command: MigrateCommand, context: NodeContext): void {
    const { guestName, options, done } = command;
    const { to } = options;
    const { guests, sessions, admission, bandwidth, links, migrationBandwidth } = this.#parts;
    const refusal = admission.refusalToSend(guestName, to);
    const managed = guests.get(guestName);
    if (managed === undefined || refusal !== null) {
      const error = refusal ?? unknownGuest(guestName);
      return context.effect(() => done(failed(error)));
    }
    const { guest, epoch } = managed;
    const { kind, memoryBytes, pageBytes, machine, launch } = guest.description;
    const unfit = unfitForPostcopy(kind, options);
    if (unfit !== null) return context.effect(() => done(failed(unfit)));
    const mayPostcopy = options.allowPostcopy ?? this.#parts.options.allowPostcopy ?? false;
    const terms: MigrationTerms = {
      migrationId: command.migrationId,
      guestName,
      guestKind: kind,
      transferId: command.transferId,
      epoch: epoch + 1,
      memoryBytes,
      pageBytes,
      machine,
      launchJson: JSON.stringify(launch),
      maxDowntimeMs: options.maxDowntimeMs ?? DEFAULT_MAX_DOWNTIME_MS,
      resumeGraceMs: this.#parts.options.resumeGraceMs,
      verify: options.verify ?? (kind === 'qemu' ? 'strict' : 'after'),
      // Whoever asks for a comparison by name gets one.
      allowPostcopy: kind === 'qemu' && mayPostcopy && options.verify !== 'strict',
    };
    links.willSend(to, memoryBytes);
    bandwidth.setMigration(terms.migrationId, to, options.maxBandwidth ?? migrationBandwidth);
    const { reference } = guest;
    const { profile = 'v3' } = options;
    const ladder = {
      maxDowntimeCeilingMs: options.maxDowntimeCeilingMs ?? terms.maxDowntimeMs,
      throttlePercentMax: options.throttlePercentMax ?? 0,
      mayPostcopy: terms.allowPostcopy,
    };
    sessions.spawnSource(
      {
        ...{ terms, to, guest, reference, profile, ladder },
        ...{ isRestored: false, isResumed: false, done },
      },
      context,
    );
  }

  cancel(migrationId: string, done: Completion<void>, context: NodeContext): void {
    const session = this.#parts.sessions.get(migrationId);
    if (session === undefined) {
      const what = `no migration ${migrationId} runs here`;
      const error = new DwcpError('ERR_DWCP_MIGRATION_UNKNOWN', what);
      return context.effect(() => done(failed(error)));
    }
    if (session.ref.tell({ type: 'cancel', done }) === 'accepted') return;
    context.effect(() => done(failed(tooLate(migrationId))));
  }

  /** Only the source sends, so only the source limits. */
  limit(
    migrationId: string,
    bytesPerSec: number,
    done: Completion<void>,
    context: NodeContext,
  ): void {
    const session = this.#parts.sessions.get(migrationId);
    if (session?.side !== 'source') {
      const elsewhere = session === undefined ? '' : `, its source is ${session.peer}`;
      const what = `no migration ${migrationId} runs from here${elsewhere}`;
      const hint = 'See what runs with: dwcp migrations';
      const error = new DwcpError('ERR_DWCP_MIGRATION_UNKNOWN', what, { hint });
      return context.effect(() => done(failed(error)));
    }
    this.#parts.bandwidth.setMigration(migrationId, session.peer, bytesPerSec);
    context.effect(() => done(succeeded(undefined)));
  }

  claim(command: NodeMessage & { type: 'claim' }, context: NodeContext): void {
    const { guestName, operator, done } = command;
    const { id, ownership } = this.#parts.options;
    const vm = ownership.get(guestName);
    if (vm === null || vm.owner === id) {
      const error = vm === null ? unknownVm(guestName) : nothingToClaim(guestName);
      return context.effect(() => done(failed(error)));
    }
    const { epoch } = vm;
    const claim = { type: 'claim', vm: guestName, epoch, host: id, operator } as const;
    const answered = context.completion<OwnershipAnswer>((outcome) => {
      return { type: 'claimAnswered', guestName, operator, done, outcome };
    });
    context.effect(() => ownership.propose(claim, CLAIM_PATIENCE_MS, answered));
  }

  /** In the log, and applied here: a frozen copy of it runs again. */
  claimAnswered(answer: ClaimAnswered, context: NodeContext): void {
    const { guestName, operator, done, outcome } = answer;
    if (!outcome.ok) return context.effect(() => done(outcome));
    const { value } = outcome;
    if (!value.ok) {
      const what = `the log of the group did not take the claim of "${guestName}" (${value.code})`;
      const hint = 'Its owner changed meanwhile. See who owns it with: dwcp status';
      const error = new DwcpError('ERR_DWCP_NOT_OWNER', what, { hint });
      return context.effect(() => done(failed(error)));
    }
    const { guests, sessions, options } = this.#parts;
    const session = sessions.sourceOf(guestName);
    session?.ref.tell({ type: 'claimed', operator });
    // A copy that is being compared is one that runs elsewhere: it is released, and not woken.
    const phase = options.view.migrations.get(session?.migrationId ?? '')?.phase;
    const isElsewhere = phase === 'verifying' || phase === 'postcopy';
    const resumed = guests.get(guestName) !== undefined && !isElsewhere;
    const epoch = value.vm?.epoch ?? 0;
    context.effect(() => done(succeeded({ guest: guestName, epoch, resumed })));
  }
}

/** Asked for by name where it cannot be had; the configuration's default merely does not apply there. */
function unfitForPostcopy(kind: GuestKind, options: MigrateOptions): DwcpError | null {
  if (options.allowPostcopy !== true) return null;
  if (kind !== 'qemu') {
    return new DwcpError('ERR_DWCP_UNSUPPORTED', `a ${kind} guest cannot be moved by post-copy`, {
      hint: 'Leave --allow-postcopy out; only QEMU guests know it.',
    });
  }
  if (options.verify !== 'strict') return null;
  const what = 'a guest that runs before its memory came cannot be compared before it runs';
  return new DwcpError('ERR_DWCP_USAGE', what, {
    hint: 'Choose --allow-postcopy or --verify strict.',
  });
}

function unknownVm(guestName: string): DwcpError {
  return new DwcpError('ERR_DWCP_GUEST_UNKNOWN', `the log of the group knows no "${guestName}"`, {
    hint: 'Nobody owns it, so nothing is to be claimed: start it.',
  });
}
