/** Threads that take one job at a time; what they answer comes in the order of the jobs. */
import { Worker } from 'node:worker_threads';
import { SIMULATION_THREAD_LIMITS } from './thread-limits.ts';

export class Threads {
  readonly #workers: readonly Worker[];

  constructor(module: URL, workerData: unknown, count: number) {
    this.#workers = Array.from(
      { length: count },
      () => new Worker(module, { workerData, resourceLimits: SIMULATION_THREAD_LIMITS }),
    );
  }

  /** Until all jobs are done or `onResult` says false; what was begun by then is waited for. */
  async run<J, R>(jobs: readonly J[], onResult: (result: R) => boolean): Promise<void> {
    const waiting = new Map<number, R>();
    let begun = 0;
    let delivered = 0;
    let stopped = false;
    const deliver = (index: number, result: R): void => {
      waiting.set(index, result);
      for (let next = waiting.get(delivered); next !== undefined && !stopped; ) {
        waiting.delete(delivered);
        delivered += 1;
        stopped = !onResult(next);
        next = waiting.get(delivered);
      }
    };
    await Promise.all(
      this.#workers.map(async (worker) => {
        while (!stopped && begun < jobs.length) {
          const index = begun;
          begun += 1;
          deliver(index, await ask<J, R>(worker, jobs[index] as J));
        }
      }),
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

function ask<J, R>(worker: Worker, job: J): Promise<R> {
  return new Promise((resolve, reject) => {
    const settle = (how: () => void): void => {
      worker.off('message', onMessage).off('error', onError).off('exit', onExit);
      how();
    };
    const onMessage = (result: R): void => settle(() => resolve(result));
    const onError = (error: unknown): void => settle(() => reject(error));
    const onExit = (code: number): void =>
      settle(() => reject(new Error(`a simulation thread ended with ${code}`)));
    worker.on('message', onMessage).on('error', onError).on('exit', onExit);
    worker.postMessage(job);
  });
}
