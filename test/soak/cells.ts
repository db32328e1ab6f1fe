/** What the soak takes in turn: every step x victim x fault x guest. */
import type { Draw } from '../integration/faults/draw.ts';
import { type Step, stepsOf } from './steps.ts';

export const GUESTS = ['memory', 'qemu'] as const;
export const VICTIMS = ['source', 'destination', 'third', 'leader'] as const;
export const FAULTS = ['kill', 'stop', 'cutQuorum', 'cutPeer'] as const;

export type GuestKind = (typeof GUESTS)[number];
export type Victim = (typeof VICTIMS)[number];
/**
 * `kill -9` and a new start; SIGSTOP for three election time-outs; no way to both other hosts; no way
 * to the other side of the move (for a host that has none: to the source).
 */
export type Fault = (typeof FAULTS)[number];

export interface Cell extends Step {
  readonly guest: GuestKind;
  readonly victim: Victim;
  readonly fault: Fault;
}

export interface Choice {
  readonly guests: readonly GuestKind[];
  readonly victims: readonly Victim[];
  readonly faults: readonly Fault[];
  /** Part of a step's name, or all steps. */
  readonly step: string | null;
}

export function cellsOf({ guests, victims, faults, step }: Choice): readonly Cell[] {
  return guests.flatMap((guest) =>
    stepsOf(guest)
      .filter((each) => step === null || `${each.side} ${each.step}`.includes(step))
      .flatMap((each) =>
        victims.flatMap((victim) => faults.map((fault) => ({ ...each, guest, victim, fault }))),
      ),
  );
}

/** In an order that a seed repeats, guest by guest: a cluster serves one kind. */
export function shuffledCells(cells: readonly Cell[], draw: Draw): readonly Cell[] {
  return GUESTS.flatMap((guest) => draw.shuffled(cells.filter((cell) => cell.guest === guest)));
}

export function nameOf({ guest, fault, victim, side, step }: Cell): string {
  return `${guest}: ${fault} the ${victim} while the ${side} stands ${step}`;
}
