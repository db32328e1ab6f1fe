/** What a test decides of a {@link MigrationWorld}: how its guest behaves, what is planted, what goes wrong. */
import type { RoundReport } from '../../src/ports/hypervisor.ts';
import type { DestinationEffect } from '../../src/protocols/migration/destination.ts';
import type { LadderHelp } from '../../src/protocols/migration/ladder.ts';
import type {
  SourceEffect,
  SourceInput,
  SourceOptions,
} from '../../src/protocols/migration/source.ts';
import type { VerifyMode } from '../../src/protocols/migration/types.ts';
import type { Outcome } from '../../src/util/errors.ts';
import type { MigrationWorld } from './migration-world.ts';

export interface WorldOptions {
  readonly verify: VerifyMode;
  readonly pageCount: number;
  /** Let a test plant a bug between a machine and the world. */
  readonly tamper?: (effect: SourceEffect, world: MigrationWorld) => readonly SourceEffect[];
  readonly tamperInput?: (input: SourceInput) => SourceInput;
  /** What a round reports; without it everything is sent and nothing left. */
  readonly roundReport?: (round: number) => RoundReport;
  /** What becomes of a step of the ladder; without it, it is done. */
  readonly helped?: (help: LadderHelp) => Outcome<void>;
  readonly ladder?: SourceOptions['ladder'];
  /** The guest does not converge, and may be moved by post-copy. */
  readonly postcopy?: boolean;
  readonly tamperDestination?: (effect: DestinationEffect) => readonly DestinationEffect[];
}

export const FAULTS = [
  'linkDown',
  'linkUp',
  'crashSource',
  'crashDestination',
  'cancel',
  'timer',
  'noQuorum',
  'quorum',
] as const;

export type Fault = (typeof FAULTS)[number] | 'claim' | 'claimElsewhere';

/** Of a guest that rounds never bring closer. */
export const POSTCOPY_LADDER: NonNullable<WorldOptions['ladder']> = {
  maxDowntimeCeilingMs: 300,
  throttlePercentMax: 0,
  mayPostcopy: true,
};
export const STALLED: RoundReport = {
  sentPages: 100,
  remainingBytes: 2 ** 40,
  elapsedUs: 1000,
  stopped: false,
};
