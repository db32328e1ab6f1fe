/**
 * Commands that go to the core in one step, from this host and from others, and back to whom each one
 * that it refused belongs. The core answers every command of a step, in their order.
 */
import type { dwcp } from '#wire';
import type { Command, RejectionCode } from '../protocols/raft/types.ts';
import { assert } from '../util/assert.ts';
import { encodeProposals, isForwardRejection, type RejectedProposal } from './raft-wire.ts';

/** Others' commands beyond this do not wait for more. */
const FULL_BYTES = 4 << 20;

export class ReplicaBatch {
  #commands: Command[] = [];
  #origins: number[] = [];
  #bytes = 0;
  #answered = 0;
  #rejected = new Map<number, RejectedProposal[]>();

  get count(): number {
    return this.#commands.length;
  }

  get isFull(): boolean {
    return this.#bytes >= FULL_BYTES;
  }

  add(origin: number, command: Command): void {
    this.#commands.push(command);
    this.#origins.push(origin);
    this.#bytes += command.data.length;
  }

  /** What the core is to be asked for in one step. */
  get commands(): readonly Command[] {
    return this.#commands;
  }

  accepted(requestId: number): void {
    this.#next(requestId);
  }

  rejected(requestId: number, code: RejectionCode): void {
    const origin = this.#next(requestId);
    assert(isForwardRejection(code), `a proposal is not refused with ${code}`);
    const rejected = { requestId, code };
    const list = this.#rejected.get(origin);
    if (list === undefined) this.#rejected.set(origin, [rejected]);
    else list.push(rejected);
  }

  #next(requestId: number): number {
    const at = this.#answered;
    const origin = this.#origins[at];
    assert(
      origin !== undefined && this.#commands[at]?.requestId === requestId,
      `the core answers command ${requestId} in its turn`,
    );
    this.#answered += 1;
    return origin;
  }

  /** After the step: what was refused, by whose it is. The batch is empty again. */
  end(): ReadonlyMap<number, readonly RejectedProposal[]> {
    assert(this.#answered === this.#commands.length, 'the core answers every command');
    this.#commands = [];
    this.#origins = [];
    this.#bytes = 0;
    this.#answered = 0;
    const rejected = this.#rejected;
    if (rejected.size > 0) this.#rejected = new Map();
    return rejected;
  }
}

/** For a leader elsewhere, in messages of about `messageBytes` at most. */
export function forwarded(
  group: string,
  commands: readonly Command[],
  messageBytes: number,
): readonly dwcp.IEnvelope[] {
  const envelopes: dwcp.IEnvelope[] = [];
  let start = 0;
  let bytes = 0;
  for (const [at, { data }] of commands.entries()) {
    if (at > start && bytes + data.length > messageBytes) {
      envelopes.push(encodeProposals(group, commands.slice(start, at)));
      start = at;
      bytes = 0;
    }
    bytes += data.length;
  }
  if (start < commands.length) envelopes.push(encodeProposals(group, commands.slice(start)));
  return envelopes;
}
