/** A client of the guest's key-value server (scripts/guests/kv-init.cc has the protocol), on one connection. */
import { createConnection, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { DwcpError } from '../src/util/errors.ts';

export const VERBS = { get: 1, put: 2, append: 3, run: 4, memory: 5 } as const;

export interface GuestPlace {
  readonly host: string;
  readonly port: number;
}

export interface GuestReply {
  readonly isFull: boolean;
  /** Null where there is no such key. */
  readonly value: Buffer | null;
}

const REQUEST_BYTES = 16;
const REPLY_BYTES = 12;
const STATUS = { missing: 1, full: 2 } as const;
const RETRY_MS = 50;
const CONNECT_MS = 1000;

export class GuestClient {
  readonly #socket: Socket;
  readonly #waiting: { resolve: (reply: GuestReply) => void; reject: (why: Error) => void }[] = [];
  #received: Buffer[] = [];
  #receivedBytes = 0;
  #nextBytes = REPLY_BYTES;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (part) => this.#take(part));
    const lost = (why: string): void => {
      const error = new DwcpError('ERR_DWCP_GUEST_FAILED', `the guest's connection: ${why}`);
      for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
    };
    socket.on('error', (error) => lost(error.message));
    socket.on('close', () => lost('closed'));
  }

  /** A guest that boots, or whose network is not there yet, is asked again. */
  static async connect(at: GuestPlace, withinMs: number): Promise<GuestClient> {
    const deadlineMs = performance.now() + withinMs;
    for (;;) {
      const socket = createConnection({ ...at, noDelay: true });
      const isOpen = await new Promise<boolean>((resolve) => {
        socket.setTimeout(CONNECT_MS, () => resolve(false));
        socket.once('error', () => resolve(false));
        socket.once('connect', () => resolve(true));
      });
      if (isOpen) return new GuestClient(socket.setTimeout(0));
      socket.destroy();
      if (performance.now() > deadlineMs) {
        throw new DwcpError('ERR_DWCP_GUEST_FAILED', `the guest does not answer at ${at.host}`);
      }
      await delay(RETRY_MS);
    }
  }

  /** Requests not answered yet. */
  get outstanding(): number {
    return this.#waiting.length;
  }

  ask(verb: keyof typeof VERBS, key = '', value: Buffer = Buffer.alloc(0)): Promise<GuestReply> {
    const keyBytes = Buffer.from(key, 'utf8');
    const head = Buffer.alloc(REQUEST_BYTES);
    head.writeUInt32LE(0, 0);
    head.writeUInt32LE(VERBS[verb], 4);
    head.writeUInt32LE(keyBytes.length, 8);
    head.writeUInt32LE(value.length, 12);
    this.#socket.write(Buffer.concat([head, keyBytes, value]));
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(part: Buffer): void {
    this.#received.push(part);
    this.#receivedBytes += part.length;
    while (this.#receivedBytes >= this.#nextBytes) {
      const all = Buffer.concat(this.#received);
      const valueBytes = all.readUInt32LE(8);
      const wholeBytes = REPLY_BYTES + valueBytes;
      this.#nextBytes = wholeBytes;
      if (all.length >= wholeBytes) {
        this.#answer(all.readUInt32LE(4), Buffer.from(all.subarray(REPLY_BYTES, wholeBytes)));
        this.#nextBytes = REPLY_BYTES;
      }
      const rest = all.length >= wholeBytes ? all.subarray(wholeBytes) : all;
      this.#received = [rest];
      this.#receivedBytes = rest.length;
    }
  }

  #answer(status: number, value: Buffer): void {
    const isMissing = status === STATUS.missing;
    this.#waiting.shift()?.resolve({
      isFull: status === STATUS.full,
      value: isMissing ? null : value,
    });
  }
}
