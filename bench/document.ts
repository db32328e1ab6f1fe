/** What `dwcp bench NAME --json` prints. Stable: people script against it. */
export interface BenchDocument {
  readonly name: string;
  readonly commit: string;
  readonly machine: MachineFacts;
  readonly results: readonly BenchResult[];
}

export interface MachineFacts {
  readonly cpu: string;
  readonly cores: number;
  readonly kernel: string;
}

export interface BenchResult {
  /** What was measured, readable alone: `tcp streams=8 chunk=1MiB`. */
  readonly case: string;
  readonly unit: string;
  readonly higherIsBetter: boolean;
  readonly ours: Summary;
  readonly peers: readonly PeerResult[];
  readonly targets: readonly Target[];
  /** What physics or the kernel allows at best, or null where nobody knows one. */
  readonly floor: Floor | null;
}

export interface Summary {
  readonly samples: readonly number[];
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface PeerResult {
  /** With version and flags, so that a reader can run it. */
  readonly name: string;
  readonly samples: readonly number[];
  readonly median: number;
  /** Ours divided by the peer's run next to it; above 1 means that our number is larger. */
  readonly ratio: { readonly samples: readonly number[]; readonly median: number };
}

export interface Target {
  readonly what: string;
  readonly target: number;
  readonly measured: number;
  readonly met: boolean;
}

export interface Floor {
  readonly name: string;
  readonly value: number;
}

export interface Bench {
  readonly name: string;
  readonly describe: string;
  run(options: BenchRunOptions): Promise<BenchDocument>;
}

export interface BenchRunOptions {
  /** Sizes that fit inside the tests: proves that the bench runs, says nothing about speed. */
  readonly quick: boolean;
  readonly onProgress: (line: string) => void;
  /** What `dwcp bench NAME --set KEY=VALUE` asked for; a bench refuses what it does not know. */
  readonly settings?: ReadonlyMap<string, string>;
  /** How far something is that takes minutes, between 0 and 1. */
  readonly onShare?: (what: string, share: number) => void;
}
