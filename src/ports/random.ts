/** Chance as a port: one labelled stream per use, so that a new draw shifts no other. */
export interface Random {
  stream(label: string): RandomStream;
  /** Unpredictable bytes for nonces and identifiers. */
  bytes(count: number): Uint8Array;
}

/** Its state is part of the core's state that owns it. */
export interface RandomStream {
  /** Uniform integer in `[0, bound)`; `bound` is a safe integer above 0. */
  below(bound: number): number;
}
