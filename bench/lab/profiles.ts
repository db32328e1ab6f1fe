/** What a link does to packets, and the links that the benches speak of. */

export interface WanShape {
  /** Of IP packets, headers included; 0: no limit. */
  readonly rateBitsPerSec: number;
  /** There and back, of an empty link. */
  readonly roundTripMs: number;
  /** Up to this much on top, half of it in each direction. */
  readonly jitterMs: number;
  /** Share of the packets of each direction. */
  readonly lossPercent: number;
  /** Packets that a bad time lasts on average; 1: each packet is lost on its own account. */
  readonly burstPackets: number;
  /** Share of packets lost in a bad time. */
  readonly badLossPercent: number;
  /** Waiting for the wire in one direction; more is dropped. */
  readonly queueBytes: number;
  /** Whether jitter lets packets overtake. */
  readonly reorder: boolean;
  /** Everything sent is lost. */
  readonly cut: boolean;
}

const QUEUE_BYTES_MIN = 64 * 1500;

export type WanProfile = 'metro' | 'wan' | 'long' | 'bad';

export const PROFILES: Readonly<Record<WanProfile, WanShape>> = {
  metro: link({ rateBitsPerSec: 1e9, roundTripMs: 10 }),
  wan: link({ rateBitsPerSec: 100e6, roundTripMs: 40, lossPercent: 0.1 }),
  long: link({ rateBitsPerSec: 200e6, roundTripMs: 150, lossPercent: 0.5 }),
  bad: link({ rateBitsPerSec: 20e6, roundTripMs: 200, lossPercent: 2, burstPackets: 8 }),
};

/** With what is not said: no jitter, no loss, and a queue of one bandwidth-delay product. */
export function link(
  said: Partial<WanShape> & Pick<WanShape, 'rateBitsPerSec' | 'roundTripMs'>,
): WanShape {
  return {
    jitterMs: 0,
    lossPercent: 0,
    burstPackets: 1,
    badLossPercent: 100,
    queueBytes: queueOf(said.rateBitsPerSec, said.roundTripMs),
    reorder: false,
    cut: false,
    ...said,
  };
}

function queueOf(rateBitsPerSec: number, roundTripMs: number): number {
  return Math.max(QUEUE_BYTES_MIN, Math.round((rateBitsPerSec / 8) * (roundTripMs / 1000)));
}
