/**
 * What really runs on this machine, asked of the kernel and of the guests themselves and never of an
 * agent: guest processes, whose data directories they belong to, and whether their workload works.
 */
export interface Census {
  take(): Promise<readonly SeenGuest[]>;
  /** The workload's own account; null when it cannot answer, such as a frozen guest. */
  account(guest: SeenGuest): Promise<GuestAccount | null>;
  resetGap(guest: SeenGuest): Promise<void>;
  /** Two workloads that both make progress: never to be seen. Null when all is well. */
  splitBrain(): Promise<string | null>;
  close(): void;
}

export interface SeenGuest {
  readonly node: string;
  readonly pid: number;
  readonly socketPath: string;
  readonly state: 'running' | 'paused' | 'frozen';
}

export interface GuestAccount {
  readonly operations: number;
  readonly longestGapMs: number;
  readonly invariantHeld: boolean;
}
