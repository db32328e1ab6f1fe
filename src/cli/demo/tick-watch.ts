/**
 * Watches a guest that counts on its serial port, across its move: QEMU at the source writes one file,
 * QEMU at the destination the next, and together they must be one text in which no count is missing,
 * repeated or cut. When a line arrives says how long the guest stood still.
 */
import { closeSync, type FSWatcher, openSync, readdirSync, readSync, watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { DwcpError } from '../../util/errors.ts';

export interface TickReport {
  /** The last count seen. */
  readonly operations: number;
  /** Between two counts, since the last {@link TickWatch.reset}; at least the guest's own pause. */
  readonly longestGapMs: number;
  /** No gap, no step back, and the guest found its memory as it left it. */
  readonly invariantHeld: boolean;
}

const TICK = /^tick ([0-9a-f]{8})(?: \d+)?$/;
const SEARCH_INTERVAL_MS = 10;
const READY_WITHIN_MS = 120_000;
const READ_BYTES = 64 * 1024;
const LINE_BYTES_MAX = 4096;

export class TickWatch {
  readonly #dataDirs: readonly string[];
  readonly #search: NodeJS.Timeout;
  readonly #readers = new Map<string, SerialReader>();
  #text = '';
  #count: number | null = null;
  #lastAtMs = 0;
  #longestGapMs = 0;
  #fault: string | null = null;

  /** Data directories of the agents, in the order in which the guest visits them. */
  constructor(dataDirs: readonly string[]) {
    this.#dataDirs = dataDirs;
    this.#search = setInterval(() => this.#findSerials(), SEARCH_INTERVAL_MS);
  }

  /** Resolves when the guest has booted and counts. */
  async ready(): Promise<void> {
    const deadlineMs = performance.now() + READY_WITHIN_MS;
    while (this.#count === null) {
      if (performance.now() > deadlineMs) {
        throw new DwcpError('ERR_DWCP_GUEST_FAILED', 'the guest does not count', {
          hint: `The last that it said: ${this.#text.slice(-200)}`,
        });
      }
      this.#findSerials();
      await delay(SEARCH_INTERVAL_MS);
    }
  }

  reset(): void {
    this.#readAll();
    this.#longestGapMs = 0;
  }

  report(): TickReport {
    this.#readAll();
    return {
      operations: this.#count ?? 0,
      longestGapMs: this.#longestGapMs,
      invariantHeld: this.#fault === null,
    };
  }

  /** What broke the invariant, for the one who reads the failure. */
  get fault(): string | null {
    return this.#fault;
  }

  close(): void {
    clearInterval(this.#search);
    for (const reader of this.#readers.values()) reader.close();
  }

  #findSerials(): void {
    for (const path of this.#dataDirs.flatMap(serialFiles)) {
      if (this.#readers.has(path)) continue;
      this.#readers.set(path, new SerialReader(path, () => this.#readAll()));
    }
    this.#readAll();
  }

  /** In the order of the visits: the source said all it had to say before the destination ran. */
  #readAll(): void {
    for (const reader of this.#readers.values()) reader.read((text) => this.#read(text));
  }

  #read(text: string): void {
    const atMs = performance.now();
    const lines = (this.#text + text).split('\n');
    this.#text = (lines.pop() ?? '').slice(-LINE_BYTES_MAX);
    for (const line of lines) this.#line(line.replace('\r', ''), atMs);
  }

  #line(line: string, atMs: number): void {
    const digits = TICK.exec(line)?.[1];
    if (digits === undefined) {
      // Before the first count the kernel and the firmware have their say.
      const isFault = line.startsWith('BAD') || (line.includes('tick') && this.#count !== null);
      if (isFault) this.#fault ??= `the guest said "${line}"`;
      return;
    }
    const count = Number.parseInt(digits, 16);
    if (this.#count !== null) {
      if (count !== this.#count + 1) this.#fault ??= `after ${this.#count} came ${count}`;
      this.#longestGapMs = Math.max(this.#longestGapMs, atMs - this.#lastAtMs);
    }
    this.#count = count;
    this.#lastAtMs = atMs;
  }
}

/** Holds the file open: what was written stays readable when the guest's folder is removed. */
class SerialReader {
  readonly #fd: number;
  readonly #watcher: FSWatcher;
  readonly #bytes = Buffer.alloc(READ_BYTES);

  constructor(path: string, onWritten: () => void) {
    this.#fd = openSync(path, 'r');
    this.#watcher = watch(path, onWritten);
  }

  read(take: (text: string) => void): void {
    for (;;) {
      const got = readSync(this.#fd, this.#bytes, 0, READ_BYTES, null);
      if (got > 0) take(this.#bytes.toString('latin1', 0, got));
      if (got < READ_BYTES) return;
    }
  }

  close(): void {
    this.#watcher.close();
    closeSync(this.#fd);
  }
}

function serialFiles(dataDir: string): readonly string[] {
  const folder = join(dataDir, 'qemu-guests');
  try {
    return readdirSync(folder).flatMap((guest) => {
      const isThere = readdirSync(join(folder, guest)).includes('serial');
      return isThere ? [join(folder, guest, 'serial')] : [];
    });
  } catch {
    return []; // No guest came here yet, or it just left.
  }
}
