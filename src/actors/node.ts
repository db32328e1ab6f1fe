/**
 * The node's actor: deals every message to the room that it concerns.
 *
 *   node-guests      the guests of this host        node-links       the links that are up
 *   node-sessions    the migrations that run        node-inbox       envelopes of peers
 *   node-operations  what an operator asks          node-admission   whether a migration may begin
 *   node-ownership   what it says to the log of the group, and hears of it
 *   node-bandwidth   what each link may carry       node-governor    the CPU limit
 *   node-modes       what operators said of the modes of links
 */
import type { OwnershipCommand } from '../protocols/ownership/types.ts';
import { unreachable } from '../util/assert.ts';
import { DwcpError, failed } from '../util/errors.ts';
import { Admission } from './node-admission.ts';
import { BandwidthTable } from './node-bandwidth.ts';
import { LinkGovernor } from './node-governor.ts';
import { GuestTable } from './node-guests.ts';
import { NodeInbox } from './node-inbox.ts';
import { LinkTable } from './node-links.ts';
import type { MigrateCommand, NodeContext, NodeMessage } from './node-messages.ts';
import { ModeTable } from './node-modes.ts';
import { DEFAULT_MAX_DOWNTIME_MS, Operations } from './node-operations.ts';
import { type NodeActorOptions, reportFault } from './node-options.ts';
import { NodeOwnership } from './node-ownership.ts';
import type { Recovery } from './node-recovery.ts';
import { SessionTable } from './node-sessions.ts';
import type { SpawnOptions } from './system.ts';

export type { MigrateCommand, NodeMessage } from './node-messages.ts';
export type { NodeActorOptions } from './node-options.ts';

/** Messages to the node: link reports, commands, and a few per session. */
const NODE_MAILBOX_LIMIT = 16_384;

export function nodeActor(options: NodeActorOptions): SpawnOptions<NodeState, NodeMessage> {
  return {
    name: 'node',
    mailboxLimit: NODE_MAILBOX_LIMIT,
    initialState: (context) => new NodeState(options, context),
    behavior: (state, message, context) => {
      state.receive(message, context);
      return state;
    },
    onStop: (state) => state.detach(),
  };
}

export class NodeState {
  readonly #guests: GuestTable;
  readonly #links: LinkTable;
  readonly #sessions: SessionTable;
  readonly #operations: Operations;
  readonly #inbox: NodeInbox;
  readonly #ownership: NodeOwnership;
  readonly #bandwidth: BandwidthTable;
  readonly #modes: ModeTable;
  readonly #governor: LinkGovernor | null;
  readonly #options: NodeActorOptions;

  constructor(options: NodeActorOptions, context: NodeContext) {
    const insist = (command: OwnershipCommand, asking: NodeContext): void =>
      this.#ownership.insist(command, asking);
    const guests = new GuestTable(options, insist);
    const links = new LinkTable(options.view);
    const sessions = new SessionTable(options, guests, links);
    const admission = new Admission(options, guests, links, sessions);
    this.#options = options;
    this.#guests = guests;
    this.#links = links;
    this.#sessions = sessions;
    const bandwidth = new BandwidthTable(options.view, links, options.maxBandwidth ?? 0);
    const migrationBandwidth = options.migrationBandwidth ?? 0;
    this.#bandwidth = bandwidth;
    this.#modes = new ModeTable(options, links, context);
    this.#operations = new Operations({
      ...{ options, guests, sessions, admission, bandwidth, links, migrationBandwidth },
    });
    this.#governor =
      options.cpu === undefined
        ? null
        : new LinkGovernor(options.cpu, options.view.links, bandwidth, context);
    this.#inbox = new NodeInbox(options, { guests, links, sessions, admission });
    this.#ownership = new NodeOwnership(options, guests, sessions, context);
    this.#recover(options.recovery, context);
    guests.poll(context);
  }

  receive(message: NodeMessage, context: NodeContext): void {
    switch (message.type) {
      case 'linkUp': {
        const { peer, peerRestarted } = message;
        const link = this.#links.up(message);
        this.#bandwidth.apply(peer);
        this.#modes.apply(peer);
        return this.#sessions.tellPeers(peer, { type: 'linkUp', link, peerRestarted });
      }
      case 'linkDown': {
        const { peer, error } = message;
        this.#links.down(peer, error);
        return this.#sessions.tellPeers(peer, { type: 'linkDown', error });
      }
      case 'linkTrouble':
        this.#links.trouble(message.peer, message.error);
        if (message.error !== null) reportFault(this.#options, message.error);
        return;
      case 'envelope':
        return this.#inbox.route(message.peer, message.envelope, context);
      case 'ownershipNews':
        return this.#ownership.heard(message, context);
      case 'insist':
        return this.#ownership.insist(message.command, context);
      case 'insisted':
        return this.#ownership.insisted(message, context);
      case 'insistAgain':
        return this.#ownership.insistAgain(context);
      case 'confirmed':
        return this.#ownership.confirmed(message, context);
      case 'confirmAgain':
        return this.#ownership.confirm(message.guest, context);
      case 'adopt':
        return this.#adopt(message, context);
      case 'migrate':
        return this.#migrate(message, context);
      case 'cancel':
        return this.#operations.cancel(message.migrationId, message.done, context);
      case 'claim':
        return this.#operations.claim(message, context);
      case 'claimAnswered':
        return this.#operations.claimAnswered(message, context);
      case 'linkMode':
        return this.#modes.report(message.peer, message.status);
      case 'setLinkMode':
      case 'modesRead':
      case 'modeStored':
        return this.#modes.receive(message, context);
      case 'setMaxBandwidth':
        return this.#bandwidth.setPeer(message.peer, message.bytesPerSec);
      case 'setMigrationBandwidth': {
        const { migrationId, bytesPerSec, done } = message;
        return this.#operations.limit(migrationId, bytesPerSec, done, context);
      }
      case 'govern':
        return this.#governor?.govern(context);
      case 'received':
        return this.#guests.manage(message.guest, message.epoch, context);
      case 'noted':
      case 'guestExited':
      case 'observed':
      case 'poll':
        return this.#guests.receive(message, context);
      case 'sourceFinished':
        return this.#sourceFinished(message, context);
      case 'destinationFinished':
        return this.#destinationFinished(message);
      case 'sessionEnded':
        this.#bandwidth.forget(message.migrationId);
        return this.#sessions.ended(message.migrationId);
      default:
        return unreachable(message);
    }
  }

  detach(): void {
    this.#guests.detach();
  }

  #adopt({ guest, epoch, done }: NodeMessage & { type: 'adopt' }, context: NodeContext): void {
    const { name } = guest.reference;
    if (!this.#sessions.isReceiving(name)) return this.#guests.adopt(guest, epoch, done, context);
    const error = new DwcpError('ERR_DWCP_GUEST_STATE', `"${name}" is on its way to this host`);
    context.effect(() => done(failed(error)));
  }

  #migrate(command: MigrateCommand, context: NodeContext): void {
    const refusal = this.#ownership.refusalToMove();
    if (refusal === null) return this.#operations.migrate(command, context);
    context.effect(() => command.done(failed(refusal)));
  }

  #sourceFinished(report: NodeMessage & { type: 'sourceFinished' }, context: NodeContext): void {
    const { migrationId, outcome } = report;
    const session = this.#sessions.get(migrationId);
    this.#sessions.sourceFinished(migrationId, outcome, context);
    const stayed = outcome.ok && outcome.value.result.type === 'stayed';
    if (!stayed || session === undefined) return;
    this.#ownership.stayed(session.guestName, context);
    const managed = this.#guests.get(session.guestName);
    if (managed === undefined) return;
    // It may stand still since its agent died; the log says whether it may run.
    const mayStandStill = session.isResumed || managed.isUnwoken;
    if (mayStandStill) this.#ownership.confirm(managed.guest, context);
  }

  /** Owned here and not running: nobody but an operator helps, so somebody has to hear of it. */
  #destinationFinished({ outcome }: NodeMessage & { type: 'destinationFinished' }): void {
    if (!outcome.ok || outcome.value.type !== 'refused') return;
    const { error } = outcome.value;
    if (error.code === 'ERR_DWCP_GUEST_FAILED') reportFault(this.#options, error);
  }

  /** What an earlier process left. Nothing that stands still is touched before the log said whose it is. */
  #recover(recovery: Recovery, context: NodeContext): void {
    const { id: host } = this.#options;
    for (const error of recovery.faults) reportFault(this.#options, error);
    for (const { name, epoch } of recovery.gone) {
      this.#ownership.insist({ type: 'unregister', vm: name, host, epoch }, context);
    }
    for (const { guest, epoch } of recovery.guests) this.#guests.manage(guest, epoch, context);
    for (const fence of recovery.fences) this.#settleFence(fence, context);
    for (const arrival of recovery.arrivals) this.#settleArrival(arrival, context);
    for (const incoming of recovery.incoming) this.#regainIncoming(incoming, context);
    for (const outgoing of recovery.outgoing) this.#regainOutgoing(outgoing, context);
    for (const { guest } of recovery.guests) {
      const managed = this.#guests.get(guest.reference.name);
      if (managed?.migrationId === null) this.#ownership.confirm(guest, context);
    }
  }

  /** An earlier process gave a guest up and did not come to know what became of it. */
  #settleFence({ record, guest }: Recovery['fences'][number], context: NodeContext): void {
    const { migrationId, guestName, epoch, reference, to, postcopy } = record;
    const terms = { ...UNKNOWN_TERMS, migrationId, guestName, epoch, guestKind: reference.kind };
    this.#sessions.spawnSource(
      {
        terms,
        to,
        guest,
        reference,
        profile: 'v3',
        isPostcopy: postcopy,
        isRestored: true,
        isResumed: false,
        done: null,
      },
      context,
    );
  }

  /** An earlier process received it; its source may go on. */
  #regainIncoming({ record, guest }: Recovery['incoming'][number], context: NodeContext): void {
    const { from, terms } = record;
    const { migrationId } = terms;
    const begin = { type: 'held', record } as const;
    this.#sessions.spawnDestination({ migrationId, from, begin, arrived: guest }, context);
  }

  /** An earlier process was in its rounds. */
  #regainOutgoing({ record, guest }: Recovery['outgoing'][number], context: NodeContext): void {
    const { to, terms, reference } = record;
    // What an operator had limited it to is not known any more.
    this.#bandwidth.setMigration(terms.migrationId, to, this.#options.migrationBandwidth ?? 0);
    this.#sessions.spawnSource(
      {
        terms,
        to,
        guest,
        reference,
        profile: 'v3',
        isRestored: false,
        isResumed: true,
        done: null,
      },
      context,
    );
  }

  /** An earlier process held all of a guest, and its source was fenced. */
  #settleArrival({ record, guest }: Recovery['arrivals'][number], context: NodeContext): void {
    const { migrationId, from } = record;
    const begin = { type: 'arrived', record, isAlive: guest !== null } as const;
    this.#sessions.spawnDestination({ migrationId, from, begin, arrived: guest }, context);
  }
}

/** A restored session settles ownership only: it sends no memory. */
const UNKNOWN_TERMS = {
  transferId: 0,
  memoryBytes: 4096,
  pageBytes: 4096,
  machine: {},
  launchJson: '{}',
  maxDowntimeMs: DEFAULT_MAX_DOWNTIME_MS,
  resumeGraceMs: 0,
  verify: 'off',
  allowPostcopy: false,
} as const;
