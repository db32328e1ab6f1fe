/**
 * The node's actor: deals every message to the room that it concerns.
 *
 *   node-guests      the guests of this host        node-links       the links that are up
 *   node-sessions    the migrations that run        node-inbox       envelopes of peers
 *   node-operations  what an operator asks          node-admission   whether a migration may begin
 *   node-decisions   decisions that were not settled
 *   node-bandwidth   what each link may carry       node-governor    the CPU limit
 */
import type { DecisionRecord } from '../protocols/migration/types.ts';
import { unreachable } from '../util/assert.ts';
import { Admission } from './node-admission.ts';
import { BandwidthTable } from './node-bandwidth.ts';
import { UnsettledDecisions } from './node-decisions.ts';
import { LinkGovernor } from './node-governor.ts';
import { GuestTable } from './node-guests.ts';
import { NodeInbox } from './node-inbox.ts';
import { LinkTable } from './node-links.ts';
import type { NodeContext, NodeMessage } from './node-messages.ts';
import { DEFAULT_MAX_DOWNTIME_MS, Operations } from './node-operations.ts';
import { type NodeActorOptions, reportFault } from './node-options.ts';
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
  readonly #decisions: UnsettledDecisions;
  readonly #bandwidth: BandwidthTable;
  readonly #governor: LinkGovernor | null;
  readonly #options: NodeActorOptions;

  constructor(options: NodeActorOptions, context: NodeContext) {
    const guests = new GuestTable(options);
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
    this.#operations = new Operations({
      ...{ guests, sessions, admission, bandwidth, migrationBandwidth },
    });
    this.#governor =
      options.cpu === undefined
        ? null
        : new LinkGovernor(options.cpu, options.view.links, bandwidth, context);
    const decisions = new UnsettledDecisions(options, guests, links, sessions);
    this.#decisions = decisions;
    this.#inbox = new NodeInbox(options, { guests, links, sessions, admission, decisions });
    const { recovery } = options;
    for (const { guest, epoch } of recovery.guests) guests.manage(guest, epoch, context);
    for (const error of recovery.faults) reportFault(options, error);
    for (const fence of recovery.fences) this.#settleFence(fence, context);
    for (const record of recovery.commits) this.#settleCommit(record, context);
    guests.poll(context);
  }

  receive(message: NodeMessage, context: NodeContext): void {
    switch (message.type) {
      case 'linkUp': {
        const { peer, peerRestarted } = message;
        const link = this.#links.up(message);
        this.#bandwidth.apply(peer);
        this.#decisions.linkUp(peer, context);
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
      case 'decisionsFound':
        return this.#decisions.repeat(message, context);
      case 'fencesFound':
        return this.#decisions.answer(message, context);
      case 'looked':
        return this.#inbox.looked(message, context);
      case 'adopt':
        return this.#guests.adopt(message.guest, message.epoch, message.done, context);
      case 'migrate':
        return this.#operations.migrate(message, context);
      case 'cancel':
        return this.#operations.cancel(message.migrationId, message.done, context);
      case 'claim':
        return this.#operations.claim(message.guestName, message.operator, message.done, context);
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
        return this.#sessions.sourceFinished(message.migrationId, message.outcome, context);
      case 'destinationFinished':
        return;
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

  /** An earlier process gave a guest up and did not hear what became of it. */
  #settleFence(fence: Recovery['fences'][number], context: NodeContext): void {
    const { record, claimedBy, guest } = fence;
    const { migrationId, guestName, epoch, reference, to } = record;
    const terms = { ...UNKNOWN_TERMS, migrationId, guestName, epoch, guestKind: reference.kind };
    const restored = { claimedBy };
    this.#sessions.spawnSource({ terms, to, guest, reference, restored, done: null }, context);
  }

  /** An earlier process took a guest over and did not come to run it. */
  #settleCommit(restored: DecisionRecord, context: NodeContext): void {
    const { migrationId, from } = restored;
    this.#sessions.spawnDestination(
      { migrationId, from, terms: null, restored, isRunning: false },
      context,
    );
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
  verify: 'off',
} as const;
