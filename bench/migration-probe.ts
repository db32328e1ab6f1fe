/** Asks the memory guest itself what it achieves, past its agent, so that one window is ours alone. */
import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import {
  acknowledgedSchema,
  connectControl,
  type GuestControl,
  type GuestReport,
  reportSchema,
} from '../src/hypervisors/memory/control.ts';
import { listGuestFiles } from '../src/hypervisors/memory/guest-files.ts';
import { DwcpError } from '../src/util/errors.ts';
import { promised } from '../src/util/promised.ts';

const WINDOW_MS = 20;

export class GuestProbe {
  readonly #control: GuestControl;

  private constructor(control: GuestControl) {
    this.#control = control;
  }

  /** Of the guest that the agent with this data directory started or received. */
  static async open(dataDir: string, name: string): Promise<GuestProbe> {
    const path = socketPath(dataDir, name);
    const control = await promised<GuestControl>((done) => connectControl(path, () => true, done));
    return new GuestProbe(control);
  }

  report(): Promise<GuestReport> {
    return this.#ask('report', reportSchema);
  }

  /** From now on the longest gap is of what comes. */
  async resetGap(): Promise<void> {
    await this.#ask('reset-gap', acknowledgedSchema);
  }

  /** Bytes per second of distinct pages over the time given. */
  async rateOver(durationMs: number): Promise<number> {
    await this.report();
    await delay(durationMs);
    return (await this.report()).dirtyBytesPerSec;
  }

  /** Bytes per second from now until `isOver`, in windows so that one that ends in a stop falls out. */
  async rateUntil(isOver: () => boolean): Promise<number> {
    let bytes = 0;
    let durationMs = 0;
    await this.report();
    let sinceMs = performance.now();
    for (;;) {
      await delay(WINDOW_MS);
      // A stopped guest does not answer: what its windows before said stands.
      const report = isOver() ? null : await this.report().catch(() => null);
      if (report === null || isOver()) break;
      const nowMs = performance.now();
      bytes += (report.dirtyBytesPerSec * (nowMs - sinceMs)) / 1000;
      durationMs += nowMs - sinceMs;
      sinceMs = nowMs;
    }
    return durationMs === 0 ? 0 : (bytes * 1000) / durationMs;
  }

  close(): void {
    this.#control.close();
  }

  #ask<T>(command: string, schema: z.ZodType<T>): Promise<T> {
    return promised((done) => this.#control.ask(command, schema, done));
  }
}

function socketPath(dataDir: string, name: string): string {
  const found = listGuestFiles(dataDir).find((file) => file.name === name);
  if (found !== undefined) return found.socketPath;
  throw new DwcpError('ERR_DWCP_GUEST_UNKNOWN', `no guest "${name}" in ${dataDir}`);
}
