import type { Random } from '../ports/random.ts';
import type {
  BulkTransport,
  CongestionControl,
  ControlTransport,
  HostPort,
} from '../ports/transport.ts';
import type { ModeLimits, ModePolicy } from '../protocols/link/mode-governor.ts';
import type { ModeThresholds } from '../protocols/link/mode-judge.ts';
import type { SealingWish } from '../protocols/link/sealing.ts';
import type { Outcome } from '../util/errors.ts';
import type { RdmaPlan } from './link-rdma.ts';
import type { LinkReport } from './messages.ts';
import type { ActorRef } from './system.ts';
import type { Spawner, TelemetrySample } from './telemetry.ts';
import { type TransportMessage, transportActor } from './transport.ts';

/** What the node gives to the part of itself that keeps it connected. */
export interface LinksOptions {
  readonly nodeId: string;
  readonly peers: readonly PeerOptions[];
  readonly control: ControlTransport;
  readonly bulk: BulkTransport;
  readonly controlListen: HostPort;
  readonly bulkListen: HostPort;
  /** Bulk streams per peer; `auto` climbs while a further one pays. */
  readonly streams: number | 'auto';
  readonly congestionControl: CongestionControl | 'auto';
  readonly windowBytes: number;
  readonly chunkBytes: number | 'auto';
  /** Of links that nobody forced. */
  readonly mode: ModePolicy;
  readonly modeRules?: ModeRules;
  /** Absent or null: TCP carries everything. */
  readonly rdma?: RdmaPlan | null;
  readonly report: ActorRef<LinkReport>;
  readonly random: Random;
  /** Gets a sample per link and per stream every second. */
  readonly telemetry?: ActorRef<TelemetrySample>;
  /** Decisions of the links that nobody asked for. */
  readonly log?: (fields: Readonly<Record<string, unknown>>, message: string) => void;
  /** Called once: with the ports that were opened, or with why that failed. */
  readonly onListening: (outcome: Outcome<ListeningPorts>) => void;
}

/** How a link with mode `auto` judges its way, and how seldom it follows. */
export interface ModeRules extends ModeThresholds, ModeLimits {}

export interface PeerOptions {
  readonly id: string;
  /** Of the peer's control listener. */
  readonly address: HostPort;
  /** What this side wants of the frames to and from this peer; default `aes-128-gcm`. */
  readonly sealing?: SealingWish;
}

export interface ListeningPorts {
  readonly controlPort: number;
  readonly bulkPort: number;
}

/**
 * Starts the actors that connect this node to its peers: one `transport`, under it one `link` per
 * peer, under that one `stream` per bulk stream. Reports come to `options.report` as `LinkReport`.
 *
 * Takes over the bulk transport: stopping the returned actor closes every channel, stream and
 * listener. When `onListening` says that it failed, the actor has stopped by itself.
 */
export function spawnLinks(spawner: Spawner, options: LinksOptions): ActorRef<TransportMessage> {
  return spawner.spawn(transportActor(options));
}
