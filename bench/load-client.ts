/** Loads a member over gRPC from a process of its own, as etcd's clients come. */
import { type ChildProcess, fork } from 'node:child_process';
import type { LoadFigures } from './kv-load.ts';
import type { ClientPlan, ClientReport } from './kv-load-end.ts';

export class LoadClient {
  readonly #child: ChildProcess;

  constructor() {
    this.#child = fork(new URL('./kv-load-end.js', import.meta.url), {
      stdio: ['ignore', 2, 2, 'ipc'],
    });
  }

  run(plan: ClientPlan): Promise<LoadFigures> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const died = (): void => reject(new Error('the client of the bench died'));
      child.once('exit', died);
      child.once('message', (report: ClientReport) => {
        child.off('exit', died);
        if (report.type === 'loaded') resolve(report.figures);
        else reject(new Error(report.error));
      });
      child.send(plan);
    });
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }
}
