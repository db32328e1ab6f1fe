/**
 * QEMU Machine Protocol: JSON lines over a unix socket. Answers carry the number of their command;
 * events come in between. Everything a damaged or hostile QEMU could grow without end is bounded.
 */
import { connect, type Socket } from 'node:net';
import { type Completion, DwcpError, failed, succeeded } from '../../util/errors.ts';
import { promised } from '../../util/promised.ts';

export interface QmpEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QmpListener {
  readonly onEvent: (event: QmpEvent) => void;
  /** Once, when the socket closed after it was opened. */
  readonly onClose: (error: DwcpError) => void;
}

export interface QmpOptions extends QmpListener {
  readonly path: string;
}

/** `query-qmp-schema` is about 250 KiB; nothing we ask for comes near. */
const MAX_LINE_BYTES = 4 * 1024 * 1024;
const MAX_PENDING = 64;
const TIMEOUT_MS = 10_000;

interface Pending {
  readonly command: string;
  readonly done: Completion<unknown>;
  readonly timer: NodeJS.Timeout;
}

export class Qmp {
  private readonly socket: Socket;
  private readonly path: string;
  private listener: QmpListener;
  private readonly pending = new Map<number, Pending>();
  private nextId = 1;
  private text = '';
  private closedBy: DwcpError | null = null;
  private opening: Completion<Qmp> | null;
  private readonly openTimer: NodeJS.Timeout;

  /** Connects, reads the greeting and leaves negotiation mode. */
  static open(options: QmpOptions, done: Completion<Qmp>): void {
    new Qmp(options, done);
  }

  private constructor(options: QmpOptions, done: Completion<Qmp>) {
    this.path = options.path;
    this.listener = options;
    this.opening = done;
    this.openTimer = setTimeout(
      () => this.fail(timedOut('the greeting', options.path)),
      TIMEOUT_MS,
    );
    this.socket = connect(options.path);
    this.socket.setEncoding('utf8');
    this.socket.on('data', (text: string) => this.receive(text));
    this.socket.on('error', (cause) => this.fail(lost(options.path, cause)));
    this.socket.on('close', () => this.fail(lost(options.path, undefined)));
  }

  /** Hands the connection on: QEMU takes one at a time, and a second may meet the end of the first. */
  subscribe(listener: QmpListener): void {
    this.listener = listener;
  }

  execute(
    command: string,
    options: Readonly<Record<string, unknown>>,
    done: Completion<unknown>,
  ): void {
    const refused = this.closedBy ?? (this.pending.size >= MAX_PENDING ? tooMany() : null);
    if (refused !== null) {
      setImmediate(done, failed(refused));
      return;
    }
    const id = this.nextId;
    this.nextId += 1;
    const timer = setTimeout(() => {
      this.pending.delete(id);
      done(failed(timedOut(command, this.path)));
    }, TIMEOUT_MS);
    this.pending.set(id, { command, done, timer });
    this.socket.write(`${JSON.stringify({ execute: command, arguments: options, id })}\r\n`);
  }

  /** For internal sequences; rejects with the coded error. */
  ask<T>(command: string, options: Readonly<Record<string, unknown>> = {}): Promise<T> {
    return promised<unknown>((done) => this.execute(command, options, done)) as Promise<T>;
  }

  /** QEMU lives on. Idempotent; `onClose` is not called for it. */
  close(): void {
    this.end(new DwcpError('ERR_DWCP_CLOSED', `${this.path} was closed by us`));
  }

  private receive(text: string): void {
    this.text += text;
    for (let end = this.text.indexOf('\n'); end >= 0; end = this.text.indexOf('\n')) {
      const line = this.text.slice(0, end).trim();
      this.text = this.text.slice(end + 1);
      if (line !== '' && this.closedBy === null) this.readLine(line);
    }
    if (this.text.length > MAX_LINE_BYTES) this.fail(malformed('a line without end'));
  }

  private readLine(line: string): void {
    const message = parseObject(line);
    if (message === null) this.fail(malformed(`not a JSON object: ${line.slice(0, 80)}`));
    else if ('QMP' in message) this.greet();
    else if (typeof message['event'] === 'string') {
      const data = message['data'];
      this.listener.onEvent({ name: message['event'], data: isObject(data) ? data : {} });
    } else this.answer(message);
  }

  private answer(message: Readonly<Record<string, unknown>>): void {
    const id = message['id'];
    const pending = typeof id === 'number' ? this.pending.get(id) : undefined;
    // An answer to a command that timed out is late, not wrong.
    if (pending === undefined || typeof id !== 'number') return;
    this.pending.delete(id);
    clearTimeout(pending.timer);
    if ('return' in message) pending.done(succeeded(message['return']));
    else pending.done(failed(refusal(pending.command, message['error'])));
  }

  private greet(): void {
    this.execute('qmp_capabilities', {}, (outcome) => {
      if (!outcome.ok) return this.fail(outcome.error);
      clearTimeout(this.openTimer);
      const opening = this.opening;
      this.opening = null;
      opening?.(succeeded(this));
    });
  }

  private fail(error: DwcpError): void {
    if (this.closedBy !== null) return;
    const opening = this.opening;
    this.opening = null;
    this.end(error);
    if (opening === null) this.listener.onClose(error);
    else opening(failed(error));
  }

  private end(error: DwcpError): void {
    if (this.closedBy !== null) return;
    this.closedBy = error;
    clearTimeout(this.openTimer);
    this.socket.destroy();
    for (const { done, timer } of this.pending.values()) {
      clearTimeout(timer);
      setImmediate(done, failed(error));
    }
    this.pending.clear();
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseObject(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function refusal(command: string, error: unknown): DwcpError {
  const why = isObject(error) ? `${error['class']}: ${error['desc']}` : 'no reason given';
  return new DwcpError('ERR_DWCP_QMP', `QEMU refused ${command}: ${why}`);
}

function timedOut(what: string, path: string): DwcpError {
  return new DwcpError('ERR_DWCP_TIMEOUT', `no answer to ${what} on ${path} in ${TIMEOUT_MS} ms`, {
    hint: 'QEMU allows one QMP client at a time, and a stopped process answers nobody.',
  });
}

function lost(path: string, cause: unknown): DwcpError {
  return new DwcpError('ERR_DWCP_GUEST_FAILED', `the QMP connection ${path} was lost`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'Look whether the QEMU process still runs and whether its -qmp socket is this one.',
  });
}

function malformed(what: string): DwcpError {
  return new DwcpError('ERR_DWCP_PROTOCOL', `QMP: ${what}`);
}

function tooMany(): DwcpError {
  return new DwcpError('ERR_DWCP_LIMIT', `${MAX_PENDING} QMP commands are already waiting`);
}
