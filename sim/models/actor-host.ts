import { ActorRuntime, type RuntimeOptions } from '../../src/actors/runtime.ts';
import type { ActorHost } from '../../src/actors/system.ts';
import type { SimHost } from '../world/host.ts';

/** How far apart the turns of actors may be drawn: enough for any two to come in either order. */
const TURN_SPREAD_US = 8;

/**
 * Actors on the simulator's scheduler: the same runtime as on nact, and one message per turn. When a rung
 * actor's turn comes is a recorded decision, so only the order per sender and receiver is to be relied on.
 */
export function createSimActorHost(
  host: SimHost,
  overrides: Partial<
    Pick<RuntimeOptions, 'onFatal' | 'onCrash' | 'onDeadLetter'> & { turnSpreadUs: number }
  > = {},
): ActorHost {
  const { world } = host;
  const incarnation = host.incarnation;
  const order = host.random('turns');
  return new ActorRuntime({
    clock: host.clock,
    makeBell: (cell) => {
      let rung = false;
      let removed = false;
      let name: string | null = null;
      const ring = (): void => {
        if (rung || removed || host.incarnation !== incarnation) return;
        rung = true;
        name ??= `${host.name}${cell.self.path}`;
        const atUs = world.nowUs + order.below(overrides.turnSpreadUs ?? TURN_SPREAD_US);
        world.schedule(atUs, 'turn', name, null, () => turn(), host);
      };
      const turn = (): void => {
        rung = false;
        if (!removed && cell.turn(1)) ring();
      };
      return {
        ring,
        remove: () => {
          removed = true;
        },
      };
    },
    onFatal:
      overrides.onFatal ??
      ((error) => world.violate('assertion', `${host.name}: ${error.message}`)),
    onCrash:
      overrides.onCrash ??
      (({ path, error }) => world.violate('actor-crash', `${host.name}${path}: ${textOf(error)}`)),
    onDeadLetter:
      overrides.onDeadLetter ??
      (({ reason }) => {
        if (reason === 'full') world.sometimes('a mailbox was full');
      }),
    settle: (done) => {
      host.after(0, 'settled', done);
    },
  });
}

function textOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
