import { type Observable, Subject } from 'rxjs';
import type { BulkLinkCounters, TcpInfo } from '../ports/transport.ts';
import type { ActorRef, SpawnOptions } from './system.ts';

/** What links and streams measure once a second. On `full` a sample is lost, which is harmless. */
export type TelemetrySample =
  | {
      readonly type: 'link';
      readonly peer: string;
      readonly atUs: number;
      /** Of the last ping on the control channel; null before the first answer. */
      readonly rttUs: number | null;
      readonly counters: BulkLinkCounters;
    }
  | {
      readonly type: 'stream';
      readonly peer: string;
      readonly atUs: number;
      readonly stream: string;
      readonly info: TcpInfo;
    };

export interface Telemetry {
  readonly ref: ActorRef<TelemetrySample>;
  /** Completes when the actor stops. A subscriber that throws harms nobody but itself. */
  readonly samples$: Observable<TelemetrySample>;
}

/** Whatever can spawn: a host, at its root, or an actor's context. */
export interface Spawner {
  spawn<S, M>(options: SpawnOptions<S, M>): ActorRef<M>;
}

export function spawnTelemetry(spawner: Spawner): Telemetry {
  const subject = new Subject<TelemetrySample>();
  const ref = spawner.spawn<Subject<TelemetrySample>, TelemetrySample>({
    name: 'telemetry',
    mailboxLimit: 1024,
    initialState: () => subject,
    behavior: (samples, sample, context) => {
      context.effect(() => samples.next(sample));
      return samples;
    },
    onStop: (samples) => samples.complete(),
  });
  return { ref, samples$: subject.asObservable() };
}
