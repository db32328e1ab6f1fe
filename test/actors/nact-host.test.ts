import { createNactHost } from '../../src/actors/nact-host.ts';
import type { DeadLetter } from '../../src/actors/system.ts';
import { actorHostConformance } from '../conformance/actor-host.ts';
import { ManualClock } from '../conformance/manual-clock.ts';

actorHostConformance('actors on nact', () => {
  const clock = new ManualClock();
  const fatals: Error[] = [];
  const crashes: unknown[] = [];
  const deadLetters: DeadLetter[] = [];
  const host = createNactHost({
    clock,
    onFatal: (error) => fatals.push(error),
    onCrash: (crash) => crashes.push(crash),
    onDeadLetter: (letter) => deadLetters.push(letter),
  });
  const settle = async (): Promise<void> => {
    // A spawned actor's first turn has no message, so look a few rounds longer.
    for (let quiet = 0; quiet < 3; quiet = host.counters().queued === 0 ? quiet + 1 : 0) {
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  };
  return { host, clock, fatals, crashes, deadLetters, settle };
});
