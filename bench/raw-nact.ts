/** nact as it comes, without our bounds, death watch and incarnations: the peer of `bench actors`. */
import { type ActorSystemRef, dispatch, spawn, start, stop } from 'nact';

export type RawRef = { readonly raw: unique symbol };
export type RawBehavior = (message: unknown, self: RawRef) => void;

export interface RawSystem {
  spawn(parent: RawRef | null, name: string, behavior: RawBehavior): RawRef;
  stop(): void;
}

/** nact's own types cannot say what we do here (its behaviours are contravariant in `this`). */
const spawnAny = spawn as unknown as (
  parent: unknown,
  behavior: (state: unknown, message: unknown, context: { self: RawRef }) => unknown,
  name: string,
) => RawRef;
const dispatchAny = dispatch as unknown as (ref: RawRef, message: unknown) => void;

let systems = 0;

export function startRawNact(): RawSystem {
  systems += 1;
  const system: ActorSystemRef = start({ name: `raw-${systems}` } as never);
  return {
    spawn: (parent, name, behavior) =>
      spawnAny(
        parent ?? system,
        (_state, message, context) => {
          behavior(message, context.self);
          return 0; // nact stops an actor whose state is undefined or null
        },
        name,
      ),
    stop: () => stop(system),
  };
}

export function rawTell(ref: RawRef, message: unknown): void {
  dispatchAny(ref, message);
}
