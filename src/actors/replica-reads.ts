/** Reads that wait for the core's word. One that it refused is asked again while patience lasts. */
import type { Input, ReadGuarantee } from '../protocols/raft/types.ts';
import { type Completion, DwcpError, failed, succeeded } from '../util/errors.ts';
import type { ReadPoint } from './replica-messages.ts';

interface WaitingRead {
  readonly guarantee: ReadGuarantee;
  readonly deadlineUs: number | null;
  readonly done: Completion<ReadPoint>;
}

type ReadInput = Extract<Input, { readonly type: 'read' }>;

export class ReplicaReads {
  readonly #waitingMax: number;
  /** By the number under which the core knows it. */
  readonly #asked = new Map<number, WaitingRead>();
  #refused: WaitingRead[] = [];
  #requestId = 0;

  constructor(waitingMax: number) {
    this.#waitingMax = waitingMax;
  }

  get count(): number {
    return this.#asked.size + this.#refused.length;
  }

  /** Null when it was refused here. */
  add(
    guarantee: ReadGuarantee,
    deadlineUs: number | null,
    done: Completion<ReadPoint>,
  ): ReadInput | null {
    if (this.count < this.#waitingMax) return this.#ask({ guarantee, deadlineUs, done });
    done(failed(new DwcpError('ERR_DWCP_LIMIT', `${this.count} reads wait already`)));
    return null;
  }

  #ask(read: WaitingRead): ReadInput {
    this.#requestId += 1;
    this.#asked.set(this.#requestId, read);
    return { type: 'read', requestId: this.#requestId, guarantee: read.guarantee };
  }

  ready(requestId: number, point: ReadPoint): void {
    const read = this.#asked.get(requestId);
    // Out of patience meanwhile.
    if (read === undefined) return;
    this.#asked.delete(requestId);
    read.done(succeeded(point));
  }

  rejected(requestId: number): void {
    const read = this.#asked.get(requestId);
    if (read === undefined) return;
    this.#asked.delete(requestId);
    this.#refused.push(read);
  }

  /** The refused ones, to be asked again. */
  again(): readonly ReadInput[] {
    return this.#refused.splice(0).map((read) => this.#ask(read));
  }

  expire(nowUs: number, error: () => DwcpError): void {
    for (const [requestId, read] of this.#asked) {
      if (!isDue(read, nowUs)) continue;
      this.#asked.delete(requestId);
      read.done(failed(error()));
    }
    const due = this.#refused.filter((read) => isDue(read, nowUs));
    if (due.length === 0) return;
    this.#refused = this.#refused.filter((read) => !isDue(read, nowUs));
    for (const { done } of due) done(failed(error()));
  }

  close(error: DwcpError): void {
    const all = [...this.#asked.values(), ...this.#refused.splice(0)];
    this.#asked.clear();
    for (const { done } of all) done(failed(error));
  }
}

function isDue({ deadlineUs }: WaitingRead, nowUs: number): boolean {
  return deadlineUs !== null && deadlineUs <= nowUs;
}
