/** What a node's actor is made of, and how it says that something went wrong by itself. */
import type { Ownership } from '../ports/ownership.ts';
import type { Storage } from '../ports/storage.ts';
import type { DwcpError } from '../util/errors.ts';
import type { CpuBudget } from './node-governor.ts';
import type { Hypervisors, Recovery } from './node-recovery.ts';
import type { NodeView } from './node-view.ts';

export interface NodeActorOptions {
  readonly id: string;
  readonly hypervisors: Hypervisors;
  readonly storage: Storage;
  readonly ownership: Ownership;
  readonly recovery: Recovery;
  readonly maxConcurrentMigrations: number;
  /** How long a move from here waits for a broken link while its guest runs. */
  readonly resumeGraceMs: number;
  /** Of a migration that does not say so itself. */
  readonly allowPostcopy?: boolean;
  /** Bytes per second: of a link that nobody limits, and of a migration that names no limit. */
  readonly maxBandwidth?: number;
  readonly migrationBandwidth?: number;
  /** Absent is unlimited. */
  readonly cpu?: CpuBudget;
  readonly view: NodeView;
  readonly log: (fields: Readonly<Record<string, unknown>>, message: string) => void;
}

/** Nobody asked, so nobody is answered: the log and the events tell. */
export function reportFault(options: NodeActorOptions, error: DwcpError): void {
  options.log({ code: error.code, hint: error.hint }, error.message);
  options.view.events$.next({ type: 'fault', error });
}
