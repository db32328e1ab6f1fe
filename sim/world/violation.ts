/** What a checker found; the run ends there. */
export interface Violation {
  /** The checker's name: what a shrunk plan has to fail again. */
  readonly checker: string;
  readonly message: string;
  readonly atUs: number;
  readonly details: unknown;
}

/** Looks at a run: at every event, at the end, or both. An answer other than null is a violation. */
export interface Checker<W> {
  readonly name: string;
  readonly onEvent?: (world: W) => Finding | null;
  readonly audit?: (world: W) => Finding | null;
}

export interface Finding {
  readonly message: string;
  readonly details?: unknown;
}
