/** A group of cores whose logs are real bytes on simulated disks, so that power can be lost under all. */
import assert from 'node:assert/strict';
import { calmPlan, type SimHost, World } from '../../sim/index.ts';
import type { OpenedRaftLog } from '../../src/ports/raft-log.ts';
import { createRaft } from '../../src/protocols/raft/raft.ts';
import type { Effect, Input, Message, Raft, Send } from '../../src/protocols/raft/types.ts';
import { openRaftLog } from '../../src/storage/raft-log/open.ts';
import { digestOf, founding, small } from './log-rig.ts';

/** One life of one member. It ends with the host's. */
class Member {
  readonly #group: Group;
  readonly #host: SimHost;
  readonly #id: number;
  raft: Raft | null = null;
  opened: OpenedRaftLog | null = null;
  refused: string | null = null;
  #held: Send[] = [];
  #durable = 0;
  readonly #timers = new Map<string, number>();
  readonly #inputs: Input[] = [];
  #isStepping = false;
  /** Of each index, what was applied here. */
  readonly applied: string[] = [''];
  readonly #proposed = new Map<number, number>();

  constructor(group: Group, host: SimHost, id: number) {
    this.#group = group;
    this.#host = host;
    this.#id = id;
    const identity = { group: 'g', replica: id };
    openRaftLog(
      host.disk,
      identity,
      founding,
      digestOf,
      (outcome) => {
        if (outcome.ok) this.#start(outcome.value);
        else this.refused = outcome.error.message;
      },
      small,
    );
  }

  #start(opened: OpenedRaftLog): void {
    this.opened = opened;
    const random = this.#host.random('raft');
    const limits = { snapshotEveryEntries: 0 };
    this.raft = createRaft({ id: this.#id, restored: opened.restored, random, limits });
    this.#host.on('raft', (message: Message) => this.step({ type: 'message', message }));
    this.step({ type: 'start' });
  }

  get leads(): boolean {
    return this.raft?.status().role === 'leader';
  }

  propose(text: string): void {
    const data = new TextEncoder().encode(text);
    this.step({ type: 'propose', commands: [{ requestId: this.#group.nextRequest(), data }] });
  }

  step(input: Input): void {
    this.#inputs.push(input);
    if (this.#isStepping || this.raft === null) return;
    this.#isStepping = true;
    for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
      const nowUs = this.#host.clock.nowUs();
      for (const effect of this.raft.step({ ...next, nowUs })) this.#begin(effect);
    }
    this.#isStepping = false;
  }

  #begin(effect: Effect): void {
    switch (effect.type) {
      case 'persist':
        return this.opened?.log.write(effect, (outcome) => {
          if (!outcome.ok) {
            return this.step({ type: 'persistFailed', reason: outcome.error.message });
          }
          this.#durable = effect.token;
          const held = this.#held;
          this.#held = [];
          for (const send of held) this.#begin(send);
          this.step({ type: 'persisted', token: effect.token });
        });
      case 'send':
        if (effect.after !== null && effect.after > this.#durable) this.#held.push(effect);
        else this.#host.send(`h${effect.message.to}/raft`, effect.message);
        return;
      case 'apply':
        for (const entry of effect.entries) {
          const text = entry.kind === 'command' ? new TextDecoder().decode(entry.data) : entry.kind;
          this.applied[entry.index] = `${entry.term}:${text}`;
          this.#group.applied(entry.index, `${entry.term}:${text}`);
          if (this.#proposed.get(entry.index) === entry.term) this.#group.acknowledged += 1;
          this.step({ type: 'applied', index: entry.index });
        }
        return;
      case 'proposed':
        this.#proposed.set(effect.index, effect.term);
        return;
      case 'setTimer': {
        const { id, atUs } = effect;
        this.#timers.set(id, atUs);
        const delayUs = Math.max(0, atUs - this.#host.clock.nowUs());
        this.#host.after(delayUs, 'timer', () => {
          if (this.#timers.get(id) !== atUs) return;
          this.#timers.delete(id);
          this.step({ type: 'timer', id });
        });
        return;
      }
      case 'cancelTimer':
        this.#timers.delete(effect.id);
        return;
      case 'roleChanged':
        if (/nobody holds/.test(effect.reason)) this.#group.unanimous += 1;
        return;
      default:
        return;
    }
  }
}

export class Group {
  readonly world: World;
  members: Member[] = [];
  /** Of each index, what some member applied: all must agree, for ever. */
  readonly history: string[] = [];
  acknowledged = 0;
  unanimous = 0;
  #request = 0;

  constructor(seed: number) {
    this.world = new World({ seed, plan: calmPlan, hosts: ['h1', 'h2', 'h3'], clients: [] });
    this.world.network.plan = calmPlan.network;
    // Uneven, so that a crash often comes between a write and its sync.
    for (const { disk } of this.world.hosts) {
      disk.plan = { latencyMinUs: 100, latencyMaxUs: 4_000 };
    }
    this.boot();
  }

  boot(): void {
    this.members = this.world.hosts.map((host, at) => new Member(this, host, at + 1));
  }

  nextRequest(): number {
    this.#request += 1;
    return this.#request;
  }

  applied(index: number, what: string): void {
    const known = this.history[index];
    assert.ok(known === undefined || known === what, `${index} was ${known}, is ${what}`);
    this.history[index] = what;
  }

  get leader(): Member | null {
    return this.members.find(({ leads }) => leads) ?? null;
  }

  run(durationUs: number): void {
    this.world.run(this.world.nowUs + durationUs);
  }

  /** Power is lost at once everywhere, and comes back. */
  blackout(between: () => void = () => {}): void {
    for (const host of this.world.hosts) host.crash();
    between();
    for (const host of this.world.hosts) host.restart();
    this.boot();
  }

  /** Somebody leads, and what is proposed is applied by all that run. */
  assertProgress(): void {
    const wanted = `p${this.nextRequest()}`;
    for (let turn = 0; turn < 60; turn += 1) {
      this.leader?.propose(wanted);
      this.run(500_000);
      const running = this.members.filter(({ raft }) => raft !== null);
      const have = running.filter(({ applied }) => applied.some((what) => what.endsWith(wanted)));
      if (have.length === running.length && running.length > 1) return;
    }
    assert.fail('no progress');
  }
}
