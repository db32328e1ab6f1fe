import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PROPOSAL_LIMITS } from '../../src/actors/replica-options.ts';
import { ReplicaProposals, SESSION_LIMITS } from '../../src/actors/replica-proposals.ts';
import {
  decodeSessionCommand,
  encodeSessionCommand,
} from '../../src/protocols/raft/sessions/command.ts';
import { SessionMachine } from '../../src/protocols/raft/sessions/machine.ts';
import type { Command } from '../../src/protocols/raft/types.ts';
import { DwcpError, type Outcome } from '../../src/util/errors.ts';
import { Recorder } from './replica-world.ts';

/** A log that takes whatever is thrown at it, and the host that applies it. */
class Log {
  readonly application = new Recorder();
  readonly machine: SessionMachine = new SessionMachine(this.application, SESSION_LIMITS);
  readonly proposals: ReplicaProposals;
  readonly outcomes = new Map<string, Outcome<Uint8Array>>();
  session = 0;
  #nonce = 0;

  constructor(limits: Partial<typeof PROPOSAL_LIMITS> = {}) {
    this.proposals = new ReplicaProposals({ ...PROPOSAL_LIMITS, ...limits }, 1 << 18, () => {
      this.#nonce += 1;
      return new Uint8Array(16).fill(this.#nonce);
    });
  }

  add(text: string, deadlineUs: number | null = null): void {
    this.proposals.add(new TextEncoder().encode(text), deadlineUs, (outcome) => {
      assert.ok(!this.outcomes.has(text), `${text} is answered once`);
      this.outcomes.set(text, outcome);
    });
  }

  /** `isSeen`: this host applies the entry itself; otherwise a snapshot brings it. */
  append(data: Uint8Array, isSeen = true): void {
    const index = this.machine.appliedIndex + 1;
    const requestId = isSeen ? this.proposals.requestOf(data) : null;
    if (requestId !== null) this.machine.proposed(requestId, index, 1);
    const settled = this.machine.apply([{ kind: 'command', index, term: 1, data }]);
    for (const { requestId: request, outcome } of settled) {
      if (outcome.kind === 'opened') this.session = outcome.session;
      this.proposals.settled(request, outcome);
    }
    if (!isSeen) this.proposals.passed();
  }

  forgetSession(): void {
    if (this.session === 0) return;
    this.append(encodeSessionCommand({ kind: 'close', session: this.session }));
  }

  /** A network and a leader that lose nothing. */
  settle(): void {
    for (let round = 0; round < 20 && this.proposals.count > 0; round += 1) {
      this.proposals.sendAgain();
      for (const { data } of this.proposals.take(0)) this.append(data);
    }
    assert.equal(this.proposals.count, 0, 'everything is answered');
    assert.equal(this.proposals.bytes, 0, 'and nothing is held');
  }
}

describe('proposals of a host', () => {
  it('run at most once, and once if answered, whatever happens on the way', () => {
    let unknown = 0;
    const someAct = fc.oneof(
      { weight: 4, arbitrary: fc.constant('add' as const) },
      { weight: 4, arbitrary: fc.constant('take' as const) },
      { weight: 8, arbitrary: fc.nat(1_000) },
      { weight: 2, arbitrary: fc.constantFrom('again' as const, 'swallow' as const) },
      { weight: 1, arbitrary: fc.constantFrom('forget' as const, 'snapshot' as const) },
      { weight: 1, arbitrary: fc.constantFrom('reject' as const, 'expire' as const) },
    );
    fc.assert(
      fc.property(fc.array(someAct, { minLength: 20, maxLength: 120 }), (acts) => {
        const log = new Log();
        const wire: Command[] = [];
        let added = 0;
        let nowUs = 0;
        for (const act of acts) {
          nowUs += 1;
          if (act === 'add') {
            added += 1;
            log.add(`${added}`, added % 5 === 0 ? nowUs + 10 : null);
          } else if (act === 'take') wire.push(...log.proposals.take(nowUs));
          else if (act === 'again') log.proposals.sendAgain();
          else if (act === 'swallow') wire.pop();
          else if (act === 'forget') log.forgetSession();
          else if (act === 'snapshot')
            for (const { data } of wire.slice(-2)) log.append(data, false);
          else if (act === 'reject')
            log.proposals.rejected(wire.at(-1)?.requestId ?? 0, 'notLeader');
          else if (act === 'expire') {
            log.proposals.expire(nowUs, () => new DwcpError('ERR_DWCP_NO_QUORUM', 'too late'));
          } else {
            // Any of them, any number of times, in any order.
            const command = wire[act % Math.max(1, wire.length)];
            if (command !== undefined) log.append(command.data);
          }
        }
        log.settle();
        const { commands } = log.application;
        assert.equal(new Set(commands).size, commands.length, 'nothing ran twice');
        assert.equal(log.outcomes.size, added, 'everything is answered');
        for (const [text, outcome] of log.outcomes) {
          if (outcome.ok) {
            assert.match(new TextDecoder().decode(outcome.value), new RegExp(`^\\d+ ${text}$`));
            assert.ok(commands.includes(text), `${text} ran`);
          } else if (outcome.error.code === 'ERR_DWCP_OUTCOME_UNKNOWN') unknown += 1;
          else assert.equal(outcome.error.code, 'ERR_DWCP_NO_QUORUM');
        }
      }),
      { numRuns: 3_000 },
    );
    assert.ok(unknown > 0, 'now and then nobody can say');
  });

  it('are unknown only where a snapshot went past them and the session is gone', () => {
    const log = new Log();
    log.add('a');
    for (const { data } of log.proposals.take(0)) log.append(data);
    const [first] = log.proposals.take(0);
    assert.ok(first);
    log.append(first.data, false);
    assert.deepEqual(log.application.commands, ['a']);
    log.add('b');
    log.forgetSession();
    const [again] = log.proposals.take(0);
    assert.ok(again);
    log.append(again.data);
    const outcome = log.outcomes.get('a');
    assert.ok(outcome?.ok === false);
    assert.equal(outcome.error.code, 'ERR_DWCP_OUTCOME_UNKNOWN');
    log.settle();
    assert.ok(log.outcomes.get('b')?.ok);
    assert.deepEqual(log.application.commands, ['a', 'b']);
  });

  it('never ask the session to keep more answers than it does', () => {
    const log = new Log({ waiting: 100_000 });
    const count = SESSION_LIMITS.answersPerSession + 500;
    for (let at = 0; at < count; at += 1) log.add(`${at}`);
    for (const { data } of log.proposals.take(0)) log.append(data);
    const [stuck, ...others] = log.proposals.take(0);
    assert.ok(stuck);
    assert.equal(others.length, SESSION_LIMITS.answersPerSession - 1);
    for (const { data } of others) log.append(data);
    assert.deepEqual(log.proposals.take(0), []);
    log.append(stuck.data);
    assert.equal(log.proposals.take(0).length, 500);
  });

  it('wait here while much is on the way', () => {
    const log = new Log({ inflightBytes: 1_000 });
    for (let at = 0; at < 10; at += 1) log.add(`${at}`.repeat(400));
    for (const { data } of log.proposals.take(0)) log.append(data);
    const taken = log.proposals.take(0);
    assert.equal(taken.length, 3);
    assert.equal(log.proposals.isReady, false);
    for (const { data } of taken.slice(0, 1)) log.append(data);
    assert.equal(log.proposals.isReady, true);
    assert.equal(log.proposals.take(0).length, 1);
  });

  it('that ran out of patience are not sent again, and free their place', () => {
    const log = new Log();
    log.add('late', 5);
    for (const { data } of log.proposals.take(0)) log.append(data);
    const [late] = log.proposals.take(0);
    assert.ok(late);
    log.proposals.expire(5, () => new DwcpError('ERR_DWCP_NO_QUORUM', 'too late'));
    assert.ok(log.outcomes.get('late')?.ok === false);
    log.proposals.sendAgain();
    assert.deepEqual(log.proposals.take(0), []);
    log.add('next');
    const [next] = log.proposals.take(0);
    assert.ok(next);
    const command = decodeSessionCommand(next.data);
    assert.ok(command?.kind === 'run');
    assert.equal(command.answeredThrough, 1);
    log.append(next.data);
    log.append(late.data);
    assert.deepEqual(log.application.commands, ['next'], 'what nobody waits for does not run late');
  });
});
