/** The conversation with one guest process: a line asked, a line of JSON answered, in order. */
import { connect, type Socket } from 'node:net';
import { z } from 'zod';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../../util/errors.ts';

const REPLY_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 30_000;
const CONNECT_INTERVAL_MS = 5;
const LINE_BYTES_MAX = 4096;

export interface GuestProcess {
  readonly pid: number;
  readonly sizeBytes: number;
  /** Where the process has its memory mapped, in decimal: it may exceed 2^53. */
  readonly address: string;
  readonly memoryFd: number;
  /** Whether the kernel tracks its writes. */
  readonly isRunning: boolean;
}

export const descriptionSchema: z.ZodType<GuestProcess> = z.object({
  pid: z.number().int().positive(),
  sizeBytes: z.number().int().positive(),
  address: z.string().regex(/^[0-9]+$/),
  memoryFd: z.number().int().nonnegative(),
  isRunning: z.boolean(),
});

export interface GuestReport {
  readonly operations: number;
  readonly longestGapUs: number;
  readonly invariantHeld: boolean;
  readonly dirtyBytesPerSec: number;
  readonly askedDirtyBytesPerSec: number;
}

export const reportSchema: z.ZodType<GuestReport> = z.object({
  operations: z.number().int().nonnegative(),
  longestGapUs: z.number().int().nonnegative(),
  invariantHeld: z.boolean(),
  dirtyBytesPerSec: z.number().nonnegative(),
  askedDirtyBytesPerSec: z.number().nonnegative(),
});

export const acknowledgedSchema: z.ZodType<{ readonly ok: true }> = z.object({
  ok: z.literal(true),
});

interface Waiting {
  readonly take: (line: string) => void;
  readonly fail: (error: DwcpError) => void;
}

export class GuestControl {
  readonly #socket: Socket;
  readonly #path: string;
  #waiting: Waiting[] = [];
  #text = '';
  #onClose: (() => void) | null = null;
  #isClosed = false;

  constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#path = path;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#read(text));
    socket.on('error', () => {});
    socket.on('close', () => this.#closed());
  }

  onClose(listener: () => void): void {
    this.#onClose = listener;
  }

  /** A frozen guest does not answer: the time-out then says so. */
  ask<T>(command: string, schema: z.ZodType<T>, done: Completion<T>): void {
    if (this.#isClosed) {
      setImmediate(() => done(failed(gone(this.#path))));
      return;
    }
    let answered = false;
    const once: Completion<T> = (outcome) => {
      if (answered) return;
      answered = true;
      clearTimeout(timer);
      done(outcome);
    };
    const timer = setTimeout(() => {
      once(
        failed(
          new DwcpError('ERR_DWCP_TIMEOUT', `guest at ${this.#path} did not answer "${command}"`, {
            hint: 'It may be frozen or starved of CPU.',
          }),
        ),
      );
    }, REPLY_TIMEOUT_MS);
    this.#waiting.push({
      fail: (error) => once(failed(error)),
      take: (line) => once(parse(line, schema, command)),
    });
    this.#socket.write(`${command}\n`);
  }

  close(): void {
    this.#onClose = null;
    this.#socket.destroy();
  }

  #read(text: string): void {
    this.#text += text;
    const lines = this.#text.split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) this.#waiting.shift()?.take(line);
    if (this.#text.length > LINE_BYTES_MAX) this.#socket.destroy();
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) one.fail(gone(this.#path));
    this.#onClose?.();
  }
}

/** Tries until the guest listens, `isPossible` says that it never will, or time is up. */
export function connectControl(
  path: string,
  isPossible: () => boolean,
  done: Completion<GuestControl>,
): void {
  const deadlineMs = performance.now() + CONNECT_TIMEOUT_MS;
  const attempt = (): void => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      done(succeeded(new GuestControl(socket, path)));
    });
    socket.once('error', (cause) => {
      if (isPossible() && performance.now() < deadlineMs) {
        setTimeout(attempt, CONNECT_INTERVAL_MS);
      } else {
        done(failed(gone(path, cause)));
      }
    });
  };
  attempt();
}

function parse<T>(line: string, schema: z.ZodType<T>, command: string): Outcome<T> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = line;
  }
  const checked = schema.safeParse(value);
  if (checked.success) return succeeded(checked.data);
  return failed(
    new DwcpError(
      'ERR_DWCP_GUEST_FAILED',
      `the guest answered "${command}" with ${line.slice(0, 200)}`,
    ),
  );
}

function gone(path: string, cause?: unknown): DwcpError {
  return new DwcpError('ERR_DWCP_GUEST_FAILED', `no guest answers at ${path}`, {
    hint: 'Its process is gone. A guest is started with memoryGuest(...) or `dwcp demo`.',
    cause,
  });
}
