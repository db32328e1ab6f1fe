/**
 * A guest as its host's kernel knows it: a process of its own that outlives agents, with memory and a
 * workload that writes it. The workload's state is in that memory alone, so that a copy that was moved
 * goes on where its memory says. Its operations happen when somebody looks, as many as the time passed
 * allows: a guest costs no events.
 */
import type { GuestKind, GuestReference } from '../../src/ports/hypervisor.ts';
import type { SimHost } from '../world/host.ts';
import type { GuestInstance, GuestLog } from './guest-log.ts';
import { SimMemory } from './memory.ts';

export interface GuestProcessOptions {
  readonly kind: GuestKind;
  readonly vm: string;
  readonly host: SimHost;
  readonly log: GuestLog;
  readonly instance: number;
  readonly pageCount: number;
  readonly epoch: number;
  /** Between two operations of the workload. */
  readonly operationUs: number;
}

/** Pages that most operations write to. */
const HOT_PAGES = 6;
/** Of page 0: the counter, then who did which operation lately. */
const COUNTER_WORD = 0;
const LOG_WORD = 2;
const LOG_ENTRIES = 64;
const WORDS_PER_OPERATION = 4;

export class GuestProcess implements GuestInstance {
  readonly kind: GuestKind;
  readonly vm: string;
  readonly instance: number;
  readonly epoch: number;
  readonly pid: number;
  readonly memory: SimMemory;
  readonly operationUs: number;
  readonly #host: SimHost;
  readonly #log: GuestLog;
  /** What a hypervisor that slows it down takes of its time, in per cent. */
  #throttlePercent = 0;
  readonly #exitListeners = new Set<() => void>();
  #isAlive = true;
  #isFrozen = false;
  #runs = false;
  #executing = false;
  /** Virtual time up to which its operations were done. */
  #doneUs = 0;

  constructor(options: GuestProcessOptions) {
    this.kind = options.kind;
    this.vm = options.vm;
    this.#host = options.host;
    this.#log = options.log;
    this.instance = options.instance;
    this.pid = 1_000 + options.instance;
    this.epoch = options.epoch;
    this.operationUs = options.operationUs;
    this.memory = new SimMemory(options.pageCount);
  }

  get host(): string {
    return this.#host.name;
  }

  get simHost(): SimHost {
    return this.#host;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** Every thread is stopped by a signal. */
  get isFrozen(): boolean {
    return this.#isFrozen;
  }

  /** The guest inside is let run, whether or not its process is frozen. */
  get runs(): boolean {
    return this.#runs;
  }

  get isExecuting(): boolean {
    return this.#executing;
  }

  get counter(): number {
    return this.memory.read(0, COUNTER_WORD);
  }

  get reference(): GuestReference {
    const { kind, vm: name, pid, instance } = this;
    const socketPath = `/run/${name}-${instance}`;
    return { kind, name, pid, startTicks: instance, socketPath };
  }

  /** What a new VM has in its memory: most pages filled, some zero. */
  fill(): void {
    for (let page = 1; page < this.memory.pageCount; page += 1) {
      if (page % 4 === 0) continue;
      for (let word = 0; word < 1024; word += 7) this.memory.write(page, word, mix(page, word));
    }
  }

  throttle(percent: number): void {
    this.catchUp();
    this.#throttlePercent = percent;
  }

  setRunning(runs: boolean): void {
    this.#change(() => {
      this.#runs = runs;
    });
  }

  freeze(): void {
    this.#change(() => {
      this.#isFrozen = true;
    });
  }

  thaw(): void {
    if (!this.#isFrozen) return;
    this.#change(() => {
      this.#isFrozen = false;
    });
    this.thawed();
  }

  kill(): void {
    if (!this.#isAlive) return;
    this.#change(() => {
      this.#isAlive = false;
    });
    this.died();
    for (const tell of [...this.#exitListeners]) tell();
  }

  /** The answer takes the listener away again. */
  whenExited(tell: () => void): () => void {
    this.#exitListeners.add(tell);
    return () => this.#exitListeners.delete(tell);
  }

  /** Who listened is gone. */
  forgetAgent(): void {
    this.#exitListeners.clear();
  }

  /** Does what the workload would have done by now. */
  catchUp(): void {
    if (!this.#executing) return;
    const { nowUs } = this.#host.world;
    const intervalUs = Math.round(this.operationUs / (1 - this.#throttlePercent / 100));
    while (this.#doneUs + intervalUs <= nowUs) {
      this.#doneUs += intervalUs;
      this.#operate();
    }
  }

  protected thawed(): void {}

  protected died(): void {}

  #operate(): void {
    const { memory, instance } = this;
    const counter = this.counter + 1;
    const draw = mix(counter, this.operationUs);
    const among = draw % 8 === 0 ? memory.pageCount - 1 : Math.min(HOT_PAGES, memory.pageCount - 1);
    const page = 1 + ((draw >>> 3) % among);
    const first = (draw >>> 16) % 1_000;
    for (let word = 0; word < WORDS_PER_OPERATION; word += 1) {
      memory.write(page, first + word, mix(counter, word));
    }
    memory.write(0, COUNTER_WORD, counter);
    const entry = LOG_WORD + (counter % LOG_ENTRIES) * 2;
    memory.write(0, entry, counter);
    memory.write(0, entry + 1, instance);
  }

  #change(how: () => void): void {
    this.catchUp();
    how();
    const executing = this.#isAlive && this.#runs && !this.#isFrozen;
    if (executing === this.#executing) return;
    this.#executing = executing;
    const { nowUs } = this.#host.world;
    if (executing) {
      this.#doneUs = nowUs;
      this.#log.started(this, this.counter, nowUs);
    } else {
      this.#log.stopped(this, this.counter, nowUs);
    }
  }
}

/** Numbers without a pattern that a stale copy could repeat. */
export function mix(a: number, b: number): number {
  let value = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  value = Math.imul(value ^ (value >>> 15), 0x27d4eb2f);
  return (value ^ (value >>> 13)) >>> 0;
}
