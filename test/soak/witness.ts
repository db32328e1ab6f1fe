/**
 * Holds the pipes in which guests say that they run, and has every beat judged. It asks no agent
 * anything: what it knows it has from the guests' own processes and from the kernel.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { monotonicNs } from './beat.ts';
import { Judge } from './judge.ts';
import { makePipe, Pipe } from './pipe.ts';

export interface Witness {
  readonly judge: Judge;
  /** The node whose directory the instance lives in; null when its process is not known. */
  nodeOf(instance: string): string | null;
  close(): void;
}

const LOOK_INTERVAL_MS = 2;
const TICK = /^tick ([0-9a-f]{8})\r?$/;
const NODES = ['a', 'b', 'c'] as const;

/** Memory guests: all of them write to one pipe, each line whole and with the clock it was said at. */
export class MemoryWitness implements Witness {
  readonly judge: Judge = new Judge();
  readonly #pipe: Pipe;
  readonly #timer: NodeJS.Timeout;
  readonly #nodes = new Map<string, string>();

  constructor(pipePath: string) {
    makePipe(pipePath);
    this.#pipe = new Pipe(pipePath, true);
    this.#timer = setInterval(() => this.#look(), LOOK_INTERVAL_MS);
  }

  nodeOf(instance: string): string | null {
    return this.#nodes.get(instance) ?? null;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#pipe.close();
  }

  #look(): void {
    for (const line of this.#pipe.lines()) {
      const [pid = '', startNs = '', counter = '', nowNs = '0'] = line.split(' ');
      const instance = `${pid}@${startNs}`;
      const atNs = BigInt(nowNs);
      if (!this.#nodes.has(instance)) this.#note(instance, pid);
      this.judge.hear({ instance, counter: Number(counter), earliestNs: atNs, latestNs: atNs });
    }
  }

  /** Its control socket lies in the data directory of its node. */
  #note(instance: string, pid: string): void {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      const node = /\/([abc])\/data\//.exec(words)?.[1];
      if (node !== undefined) this.#nodes.set(instance, node);
    } catch {
      // It ended meanwhile, so nothing will be asked of its node.
    }
  }
}

/** QEMU guests: the serial port of each process is a pipe of its own, in its own folder. */
export class SerialWitness implements Witness {
  readonly judge: Judge = new Judge();
  readonly #directory: string;
  readonly #ports = new Map<string, { readonly pipe: Pipe; emptyNs: bigint }>();
  readonly #timer: NodeJS.Timeout;

  /** Of the guests whose data directories lie in `directory`, a folder per node. */
  constructor(directory: string) {
    this.#directory = directory;
    this.#timer = setInterval(() => this.#look(), LOOK_INTERVAL_MS);
  }

  nodeOf(instance: string): string {
    return instance.split('/')[0] ?? '';
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { pipe } of this.#ports.values()) pipe.close();
  }

  #look(): void {
    const present = this.#find();
    for (const [instance, port] of this.#ports) {
      // What the next look finds was written after this one began.
      const beganNs = monotonicNs();
      const lines = port.pipe.lines();
      const nowNs = monotonicNs();
      for (const line of lines) {
        const digits = TICK.exec(line)?.[1];
        // A count that a move cut in two belongs to neither.
        if (digits === undefined) continue;
        const counter = Number.parseInt(digits, 16);
        this.judge.hear({ instance, counter, earliestNs: port.emptyNs, latestNs: nowNs });
      }
      port.emptyNs = beganNs;
      if (present.has(instance)) continue;
      // Its folder goes when its process has ended: nothing more will come.
      port.pipe.close();
      this.#ports.delete(instance);
    }
  }

  #find(): ReadonlySet<string> {
    const present = new Set<string>();
    for (const node of NODES) {
      for (const folder of foldersOf(join(this.#directory, node, 'data/qemu-guests'))) {
        const instance = `${node}/${folder}`;
        present.add(instance);
        if (this.#ports.has(instance)) continue;
        const path = join(this.#directory, node, 'data/qemu-guests', folder, 'serial');
        const emptyNs = monotonicNs();
        try {
          this.#ports.set(instance, { pipe: new Pipe(path, false), emptyNs });
        } catch (error) {
          // The program that makes it has not come so far; QEMU waits for us to open it.
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        }
      }
    }
    return present;
  }
}

function foldersOf(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return []; // No QEMU was ever there.
  }
}
