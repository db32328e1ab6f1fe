/**
 * Turns the cumulative counters of a link's streams into what the climber is fed: bytes per lane and
 * interval, and whether the interval says anything about the wire.
 */
import type { BulkLinkLanes } from '../../ports/transport.ts';
import type { ClimberInput, LaneSample } from './climber.ts';

/** A lane is a stream's place: the stream in it may break and come back under another id. */
export interface KnownLane {
  readonly lane: number;
  /** Null before its first join. */
  readonly stream: number | null;
}

/** How long a lane may be on its way before it counts as one that carries nothing. */
const PATIENCE_US = 3_000_000;

export class LaneMeter {
  #ackedBytes: ReadonlyMap<number, number> = new Map();
  #idlePulls = 0;
  #sampledUs: number;
  readonly #missingSinceUs = new Map<number, number>();

  constructor(nowUs: number) {
    this.#sampledUs = nowUs;
  }

  /** Null while a lane is connecting: what is measured then says nothing about either number. */
  sample(
    nowUs: number,
    known: readonly KnownLane[],
    now: BulkLinkLanes,
  ): Omit<ClimberInput, 'nowUs'> | null {
    const ackedBytes = new Map(now.lanes.map((lane) => [lane.stream, lane.ackedBytes]));
    const lanes: LaneSample[] = [];
    let isConnecting = false;
    for (const { lane, stream } of known) {
      const acked = stream === null ? undefined : ackedBytes.get(stream);
      if (acked === undefined) {
        isConnecting ||= this.#missing(lane, nowUs);
        lanes.push({ lane, ackedBytes: 0 });
        continue;
      }
      this.#missingSinceUs.delete(lane);
      lanes.push({ lane, ackedBytes: acked - (this.#ackedBytes.get(stream ?? -1) ?? 0) });
    }
    const carried = lanes.reduce((sum, lane) => sum + lane.ackedBytes, 0);
    const saturated = carried > 0 && now.idlePulls === this.#idlePulls;
    const elapsedUs = nowUs - this.#sampledUs;
    this.#ackedBytes = ackedBytes;
    this.#idlePulls = now.idlePulls;
    this.#sampledUs = nowUs;
    return isConnecting ? null : { elapsedUs, lanes, saturated };
  }

  forget(lane: number): void {
    this.#missingSinceUs.delete(lane);
  }

  #missing(lane: number, nowUs: number): boolean {
    const sinceUs = this.#missingSinceUs.get(lane) ?? nowUs;
    this.#missingSinceUs.set(lane, sinceUs);
    return nowUs - sinceUs < PATIENCE_US;
  }
}
