/** Our replicated group as processes of this machine, and what a bench asks of them. */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ReplicaStatus } from '../src/actors/replica-messages.ts';
import { freePorts } from '../src/cli/demo/free-ports.ts';
import { createAuthority, issueNode } from '../src/identity/authority.ts';
import type { ReadGuarantee } from '../src/protocols/raft/types.ts';
import { assert } from '../src/util/assert.ts';
import type { LoadFigures, LoadPlan } from './kv-load.ts';
import type { AppliedCount } from './kv-store.ts';
import type { MemberAnswer, MemberOrder, MemberPlan } from './raft-member.ts';

const WITHIN_MS = 30_000;

interface Member {
  readonly id: string;
  readonly plan: MemberPlan;
  child: ChildProcess | null;
  grpcPort: number;
}

export class RaftGroup {
  readonly #members: readonly Member[];
  /** Of all operations that were asked for: what every member must have applied. */
  #asked: AppliedCount = { revision: 0, valueBytes: 0, operationSum: 0 };
  #next = 1;

  private constructor(members: readonly Member[]) {
    this.#members = members;
  }

  static async start(folder: string, count: number): Promise<RaftGroup> {
    mkdirSync(folder, { recursive: true });
    const authority = await createAuthority();
    const ports = await freePorts(count);
    const members = ports.map((port, index) => ({ id: `member-${index + 10}`, port }));
    const plans = await Promise.all(
      members.map(async ({ id }) => ({
        id,
        plan: { identity: await issueNode(authority, id), members, dataDir: join(folder, id) },
        child: null,
        grpcPort: 0,
      })),
    );
    const group = new RaftGroup(plans);
    try {
      await Promise.all(plans.map(({ id }) => group.startMember(id)));
      await group.leader();
      return group;
    } catch (error) {
      group.stop();
      throw error;
    }
  }

  get ids(): readonly string[] {
    return this.#members.map(({ id }) => id);
  }

  async startMember(id: string): Promise<void> {
    const member = this.#member(id);
    const child = fork(
      new URL('./raft-member.js', import.meta.url),
      [JSON.stringify(member.plan)],
      {
        stdio: ['ignore', 2, 2, 'ipc'],
      },
    );
    member.child = child;
    const ready = await answerOf(child, 'ready');
    member.grpcPort = ready.grpcPort;
  }

  /** `kill -9`, at once; resolves when it is gone. */
  kill(id: string): Promise<void> {
    const member = this.#member(id);
    const { child } = member;
    member.child = null;
    return new Promise((resolve) => {
      child?.once('exit', () => resolve());
      child?.kill('SIGKILL');
    });
  }

  /** The one that leads in its own eyes and in those of all the others that live. */
  async leader(): Promise<string> {
    const untilMs = performance.now() + WITHIN_MS;
    for (;;) {
      const statuses = await Promise.all(this.#alive().map(({ id }) => this.status(id)));
      const leaders = new Set(statuses.map(({ leader }) => leader));
      const [leader] = leaders;
      const isKnown = leaders.size === 1 && leader !== null && leader !== undefined;
      if (isKnown && statuses.some(({ self, role }) => self === leader && role === 'leader'))
        return leader;
      assert(performance.now() < untilMs, `no leader: ${JSON.stringify(statuses)}`);
      await delay(10);
    }
  }

  async status(id: string): Promise<ReplicaStatus> {
    return (await this.#ask(id, { type: 'status' }, 'status')).status;
  }

  addressOf(id: string): string {
    return `127.0.0.1:${this.#member(id).grpcPort}`;
  }

  /** The plan of the next load, whose operations go on where the last one's ended. */
  plan(inflight: number, seconds: number, valueBytes: number): LoadPlan {
    return { inflight, seconds, valueBytes, first: this.#next };
  }

  /** By the process of the leader itself. */
  async load(leader: string, plan: LoadPlan): Promise<LoadFigures> {
    const { figures } = await this.#ask(leader, { type: 'load', plan }, 'figures');
    await this.applied(plan, figures.operations);
    return figures;
  }

  async reads(id: string, plan: LoadPlan, guarantee: ReadGuarantee): Promise<LoadFigures> {
    return (await this.#ask(id, { type: 'reads', plan, guarantee }, 'figures')).figures;
  }

  /** The earliest moment at which anybody of the living knew a new command to be applied. */
  async probe(valueBytes: number): Promise<number> {
    const first = this.#next;
    const probes = this.#alive().map(async ({ id }, index) => {
      const order = { type: 'probe', operation: first + index, valueBytes } as const;
      return (await this.#ask(id, order, 'probed')).atMs;
    });
    const moments = await Promise.all(probes);
    this.#count(first, moments.length, valueBytes);
    return Math.min(...moments);
  }

  async transfer(from: string, to: string): Promise<number> {
    return (await this.#ask(from, { type: 'transfer', to }, 'transferred')).tookMs;
  }

  /** Returns when every living member has applied what was asked for, and fails if it is anything else. */
  async applied({ first, valueBytes }: LoadPlan, operations: number): Promise<void> {
    this.#count(first, operations, valueBytes);
    await this.settled();
  }

  async settled(): Promise<void> {
    const untilMs = performance.now() + WITHIN_MS;
    for (const { id } of this.#alive()) {
      let count = await this.#countOf(id);
      while (count.revision < this.#asked.revision) {
        assert(
          performance.now() < untilMs,
          `${id} applied ${count.revision} of ${this.#asked.revision}`,
        );
        await delay(5);
        count = await this.#countOf(id);
      }
      assert(
        JSON.stringify(count) === JSON.stringify(this.#asked),
        `${id} applied ${JSON.stringify(count)}, asked were ${JSON.stringify(this.#asked)}`,
      );
    }
  }

  stop(): void {
    for (const { child } of this.#members) child?.kill('SIGKILL');
  }

  #count(first: number, operations: number, valueBytes: number): void {
    const sum = (operations * (2 * first + operations - 1)) / 2;
    this.#next = first + operations;
    this.#asked = {
      revision: this.#asked.revision + operations,
      valueBytes: this.#asked.valueBytes + operations * valueBytes,
      operationSum: this.#asked.operationSum + sum,
    };
  }

  async #countOf(id: string): Promise<AppliedCount> {
    return (await this.#ask(id, { type: 'count' }, 'count')).count;
  }

  #alive(): readonly Member[] {
    return this.#members.filter(({ child }) => child !== null);
  }

  #member(id: string): Member {
    const found = this.#members.find((member) => member.id === id);
    assert(found !== undefined, `${id} is a member`);
    return found;
  }

  #ask<T extends MemberAnswer['type']>(
    id: string,
    order: MemberOrder,
    type: T,
  ): Promise<Extract<MemberAnswer, { type: T }>> {
    const { child } = this.#member(id);
    assert(child !== null, `${id} lives`);
    const answer = answerOf(child, type);
    child.send(order);
    return answer;
  }
}

/** One order at a time goes to a member, so the next answer is to it. */
function answerOf<T extends MemberAnswer['type']>(
  child: ChildProcess,
  type: T,
): Promise<Extract<MemberAnswer, { type: T }>> {
  return new Promise((resolve, reject) => {
    const died = (code: number | null): void => reject(new Error(`a member died (${code})`));
    child.once('exit', died);
    child.once('message', (message: MemberAnswer) => {
      child.off('exit', died);
      if (message.type === type) resolve(message as Extract<MemberAnswer, { type: T }>);
      else
        reject(new Error(message.type === 'failed' ? message.error : `answered ${message.type}`));
    });
  });
}
