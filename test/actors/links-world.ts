/** Hosts with real link actors on one simulated wire, whose time moves in steps of a millisecond. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimNetwork } from '../../sim/transport/network.ts';
import { simBulkTransport } from '../../sim/transport/sim-bulk.ts';
import { simControlTransport } from '../../sim/transport/sim-control.ts';
import type { LinkReport } from '../../src/actors/messages.ts';
import { createNactHost } from '../../src/actors/nact-host.ts';
import { type LinksOptions, type ModeRules, spawnLinks } from '../../src/actors/spawn-links.ts';
import type { ActorHost, ActorRef } from '../../src/actors/system.ts';
import { spawnTelemetry, type TelemetrySample } from '../../src/actors/telemetry.ts';
import type { BulkKeys, BulkLink, BulkTransport } from '../../src/ports/transport.ts';
import { systemRandom } from '../../src/system/random.ts';
import { ManualClock } from '../conformance/manual-clock.ts';

export const SECOND_US: number = 1_000_000;

interface WorldNode {
  readonly mailboxLimit?: number;
  readonly streams?: LinksOptions['streams'];
  readonly mode?: LinksOptions['mode'];
  readonly modeRules?: ModeRules;
  /** While it answers true, the node takes no report. */
  readonly isDeaf?: () => boolean;
}

export interface TestNode {
  readonly host: ActorHost;
  readonly reports: LinkReport[];
  readonly samples: TelemetrySample[];
  /** How often its links dialled a control channel. */
  dials: number;
  /** What its links were told to send and receive under, session by session; null: under no key. */
  readonly keys: (readonly [string, string] | null)[];
}

function notingKeys(bulk: BulkTransport, { keys: noted }: TestNode): BulkTransport {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  // At once: they are wiped when they were taken.
  const note = (keys: BulkKeys | null): void => {
    noted.push(keys && [hex(keys.sendSecret), hex(keys.receiveSecret)]);
  };
  return {
    ...bulk,
    openLink: (options) => {
      note(options.keys ?? null);
      const link = bulk.openLink(options);
      const setKeys = link.setKeys.bind(link);
      link.setKeys = (keys) => {
        note(keys);
        return setKeys(keys);
      };
      return link;
    },
  };
}

export class World {
  readonly clock: ManualClock = new ManualClock();
  readonly network: SimNetwork = new SimNetwork(this.clock, 500);
  readonly nodes: Map<string, TestNode> = new Map();

  start(nodeId: string, peers: readonly string[], options: WorldNode = {}): TestNode {
    const { mailboxLimit = 100, streams = 3, isDeaf = () => false } = options;
    const { mode = 'datacenter', modeRules } = options;
    const reports: LinkReport[] = [];
    const samples: TelemetrySample[] = [];
    const fatal = (error: Error): void => {
      throw error;
    };
    const onCrash = ({ error }: { error: unknown }): void => {
      throw error;
    };
    const host = createNactHost({ clock: this.clock, onFatal: fatal, onCrash });
    const listening = host.spawn<null, LinkReport>({
      name: 'node',
      mailboxLimit,
      initialState: () => null,
      behavior: (_state, message) => {
        reports.push(message);
        return null;
      },
    });
    const report: ActorRef<LinkReport> = {
      path: listening.path,
      incarnation: listening.incarnation,
      tell: (message) => (isDeaf() ? 'full' : listening.tell(message)),
    };
    const node: TestNode = { host, reports, samples, dials: 0, keys: [] };
    const control = simControlTransport(this.network, nodeId);
    const telemetry = spawnTelemetry(host);
    telemetry.samples$.subscribe((sample) => samples.push(sample));
    spawnLinks(host, {
      ...{ nodeId, report, random: systemRandom(), telemetry: telemetry.ref },
      peers: peers.map((id) => ({ id, address: { host: id, port: 1 } })),
      control: {
        listen: control.listen,
        dial: (...call) => {
          node.dials += 1;
          control.dial(...call);
        },
      },
      bulk: notingKeys(simBulkTransport(this.network, nodeId), node),
      controlListen: { host: nodeId, port: 1 },
      bulkListen: { host: nodeId, port: 0 },
      ...{
        streams,
        mode,
        congestionControl: mode === 'auto' ? 'auto' : 'cubic',
        windowBytes: 2 ** 20,
        chunkBytes: mode === 'auto' ? 'auto' : 2 ** 16,
      },
      ...(modeRules === undefined ? {} : { modeRules }),
      onListening: (outcome) => assert.ok(outcome.ok),
    });
    this.nodes.set(nodeId, node);
    return node;
  }

  async run(byUs: number): Promise<void> {
    await this.#settle();
    for (let passedUs = 0; passedUs < byUs; passedUs += 1000) {
      this.clock.advance(1000);
      await this.#settle();
    }
  }

  async until(condition: () => boolean, withinUs: number = 20 * SECOND_US): Promise<void> {
    const endUs = this.clock.nowUs() + withinUs;
    while (!condition()) {
      assert.ok(this.clock.nowUs() < endUs, `not in time: ${condition}`);
      await this.run(10_000);
    }
  }

  async stop(): Promise<void> {
    for (const nodeId of [...this.nodes.keys()]) await this.crash(nodeId);
    await this.run(SECOND_US / 10);
    assert.equal(this.network.connections(), 0, 'a connection survived its nodes');
  }

  async crash(nodeId: string): Promise<void> {
    const node = this.nodes.get(nodeId);
    this.nodes.delete(nodeId);
    await new Promise<void>((resolve) => node?.host.shutdown(resolve));
    assert.equal(node?.host.counters().actors, 0);
  }

  async #settle(): Promise<void> {
    let quiet = 0;
    while (quiet < 2) {
      const queued = [...this.nodes.values()].some(({ host }) => host.counters().queued > 0);
      quiet = queued ? 0 : quiet + 1;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }
}

export function onWorld(title: string, body: (world: World) => Promise<void>): void {
  test(title, async () => {
    const world = new World();
    try {
      await body(world);
    } finally {
      await world.stop();
    }
  });
}

export type LinkUp = LinkReport & { type: 'linkUp' };

export function ups(node: TestNode): LinkUp[] {
  return node.reports.filter((report): report is LinkUp => report.type === 'linkUp');
}

export function streamsOf(node: TestNode): number {
  const bulk: BulkLink | undefined = ups(node).at(-1)?.bulk;
  return bulk?.counters().streams ?? 0;
}

export function send(node: TestNode, from: string): void {
  const link = ups(node).at(-1)?.link as ActorRef<unknown> | undefined;
  assert.equal(link?.tell({ type: 'send', envelope: { from, to: 'node' } }), 'accepted');
}

export function received(node: TestNode): (string | null | undefined)[] {
  return node.reports.flatMap((report) =>
    report.type === 'envelope' ? [report.envelope.from] : [],
  );
}
