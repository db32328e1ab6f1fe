/**
 * One end of `bench mode-switch`, a process of its own: the shipped link actors over TLS and native streams, and
 * pages that never stop moving from `a` to `b`. Speaks with the benchmark over the channel of `fork`.
 */
import { createHash } from 'node:crypto';
import type { LinkCommand, LinkModeStatus, LinkReport } from '../src/actors/messages.ts';
import { createNactHost } from '../src/actors/nact-host.ts';
import { type ModeRules, spawnLinks } from '../src/actors/spawn-links.ts';
import type { ActorRef } from '../src/actors/system.ts';
import type { NodeIdentity } from '../src/identity/authority.ts';
import {
  createPageSet,
  createRegion,
  digestPages,
  fillRegion,
  type NativeRegion,
} from '../src/native.ts';
import type { LinkMode } from '../src/node.ts';
import type { BulkLink, BulkLinkCounters, HostPort } from '../src/ports/transport.ts';
import { systemClock } from '../src/system/clock.ts';
import { systemRandom } from '../src/system/random.ts';
import { createNativeBulkTransport } from '../src/transports/native-bulk.ts';
import { createTlsControlTransport } from '../src/transports/tls-control.ts';
import { assert } from '../src/util/assert.ts';

export interface ModeEndPlan {
  readonly id: 'a' | 'b';
  readonly identity: NodeIdentity;
  readonly listen: HostPort;
  /** Of the other end's control port. */
  readonly peer: { readonly id: string; readonly address: HostPort };
  readonly streams: number;
  readonly mode: LinkMode | 'auto';
  readonly rules: ModeRules;
  readonly regionBytes: number;
}

export type ModeEndOrder =
  | { readonly type: 'force'; readonly policy: LinkMode | 'auto' }
  /** The sender ends with the pass that is under way. */
  | { readonly type: 'finish' };

export type ModeEndReport =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'flowing' }
  | { readonly type: 'mode'; readonly status: LinkModeStatus }
  | {
      readonly type: 'finished';
      /** Of pages that were acknowledged, or that arrived; what came twice in one chunk counts once. */
      readonly bytes: number;
      readonly passes: number;
      readonly counters: BulkLinkCounters;
      readonly digest: string;
    };

const TRANSFER = { transferId: 1, epoch: 1 };
const PAGE_BYTES = 4096;
const WINDOW_BYTES = 64 * 2 ** 20;
const PASSES_AHEAD = 4;
const MAILBOX_LIMIT = 4096;

class End {
  readonly #plan: ModeEndPlan;
  readonly #region: NativeRegion;
  #link: ActorRef<LinkCommand> | null = null;
  #finish: () => void = () => {};

  constructor(plan: ModeEndPlan) {
    this.#plan = plan;
    this.#region = createRegion({ name: plan.id, sizeBytes: plan.regionBytes, hugePages: false });
    fillRegion(this.#region, plan.id === 'a' ? 1 : 2, 0);
  }

  start(): void {
    const { id, identity, listen, peer, streams, mode, rules } = this.#plan;
    const host = createNactHost({ clock: systemClock() });
    const report = host.spawn<null, LinkReport>({
      ...{ name: 'node', mailboxLimit: MAILBOX_LIMIT, initialState: () => null },
      behavior: (_state, message) => {
        this.#hear(message);
        return null;
      },
    });
    spawnLinks(host, {
      ...{ nodeId: id, peers: [peer], report, random: systemRandom(), streams, mode },
      ...{ modeRules: rules, congestionControl: 'auto', chunkBytes: 'auto' },
      control: createTlsControlTransport({ identity }),
      bulk: createNativeBulkTransport(),
      controlListen: listen,
      bulkListen: { host: listen.host, port: 0 },
      windowBytes: WINDOW_BYTES,
      onListening: (outcome) => {
        if (!outcome.ok) throw outcome.error;
        tell({ type: 'listening', port: outcome.value.controlPort });
      },
    });
    process.on('message', (order: ModeEndOrder) => {
      if (order.type === 'force') this.#link?.tell({ type: 'setMode', policy: order.policy });
      else this.#finish();
    });
  }

  #hear(report: LinkReport): void {
    if (report.type === 'linkMode') return tell({ type: 'mode', status: report.status });
    if (report.type === 'linkDown') throw report.error;
    if (report.type !== 'linkUp') return;
    assert(this.#link === null, 'the link stands from the beginning to the end');
    this.#link = report.link;
    if (this.#plan.id === 'a') this.#send(report.bulk);
    else this.#receive(report.bulk);
  }

  #send(bulk: BulkLink): void {
    const pages = createPageSet(this.#plan.regionBytes / PAGE_BYTES);
    pages.addAll();
    let [sent, acked, isFinishing] = [0, 0, false];
    const sender = bulk.sendPages({ ...TRANSFER, region: this.#region }, (event) => {
      if (event.type === 'failed') throw event.error;
      acked += 1;
      if (!isFinishing) return ahead();
      if (acked === sent) this.#finished(sender.counters().ackedBytes, sent, bulk);
    });
    const ahead = (): void => {
      for (; sent < acked + PASSES_AHEAD; sent += 1) sender.send(pages);
    };
    this.#finish = () => {
      isFinishing = true;
    };
    // The receiver is told of the link a moment later, and knows the transfer then.
    setTimeout(() => {
      ahead();
      tell({ type: 'flowing' });
    }, 500);
  }

  #receive(bulk: BulkLink): void {
    const receiver = bulk.receivePages({ ...TRANSFER, region: this.#region }, (event) => {
      throw event.error;
    });
    this.#finish = () => {
      const { landedPages, stalePages } = receiver.counters();
      // A page that a newer one overtook has arrived, and is not written.
      this.#finished((landedPages + stalePages) * PAGE_BYTES, 0, bulk);
    };
  }

  #finished(bytes: number, passes: number, bulk: BulkLink): void {
    const count = this.#plan.regionBytes / PAGE_BYTES;
    const digest = createHash('sha256')
      .update(digestPages(this.#region, 0, count))
      .digest('hex');
    tell({ type: 'finished', bytes, passes, counters: bulk.counters(), digest });
  }
}

function tell(report: ModeEndReport): void {
  process.send?.(report);
}

const plan = process.argv[2];
assert(plan !== undefined, 'started by bench mode-switch');
new End(JSON.parse(plan) as ModeEndPlan).start();
process.once('disconnect', () => process.exit(0));
