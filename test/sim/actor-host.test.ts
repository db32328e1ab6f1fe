import { calmPlan, World } from '../../sim/index.ts';
import { createSimActorHost } from '../../sim/models/actor-host.ts';
import type { ActorHost, DeadLetter } from '../../src/actors/system.ts';
import { assert } from '../../src/util/assert.ts';
import { actorHostConformance } from '../conformance/actor-host.ts';

actorHostConformance('actors on the simulator', () => {
  const world = new World({ seed: 1, plan: calmPlan, hosts: ['host'], clients: [] });
  const [simHost] = world.hosts;
  assert(simHost !== undefined, 'a host');
  const fatals: Error[] = [];
  const crashes: unknown[] = [];
  const deadLetters: DeadLetter[] = [];
  const actors = createSimActorHost(simHost, {
    onFatal: (error) => fatals.push(error),
    onCrash: (crash) => crashes.push(crash),
    onDeadLetter: (letter) => deadLetters.push(letter),
    turnSpreadUs: 1, // time stands still, as the suite moves it itself
  });
  const run = (untilUs: number): void => {
    world.run(untilUs);
    assert(world.violation === null, JSON.stringify(world.violation));
  };
  const host: ActorHost = {
    spawn: (options) => actors.spawn(options),
    stop: (ref) => actors.stop(ref),
    counters: () => actors.counters(),
    shutdown: (done) => {
      actors.shutdown(done);
      run(world.nowUs);
    },
  };
  const clock = {
    get armed(): number {
      return simHost.clock.armed;
    },
    advance: (byUs: number): void => run(world.nowUs + byUs),
  };
  const settle = async (): Promise<void> => run(world.nowUs);
  return { host, clock, fatals, crashes, deadLetters, settle };
});
