import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeSessionCommand,
  encodeSessionCommand,
  NONCE_BYTES,
  type SessionCommand,
} from '../../../src/protocols/raft/sessions/command.ts';
import { type Application, SessionMachine } from '../../../src/protocols/raft/sessions/machine.ts';
import { SessionTable } from '../../../src/protocols/raft/sessions/table.ts';
import type { Entry } from '../../../src/protocols/raft/types.ts';

const LIMITS = { sessions: 3, answersPerSession: 4 };

/** Remembers every command it ran; answers with how many there were. */
class Recorder implements Application {
  ran: number[] = [];

  execute(command: Uint8Array): Uint8Array {
    this.ran.push(command[0] ?? 0);
    return Uint8Array.of(this.ran.length);
  }
  encode(): Uint8Array {
    return Uint8Array.from(this.ran);
  }
  restore(bytes: Uint8Array): void {
    this.ran = [...bytes];
  }
}

function entry(index: number, command: SessionCommand, term = 1): Entry {
  return { kind: 'command', index, term, data: encodeSessionCommand(command) };
}

function run(session: number, sequence: number, byte: number, answeredThrough = 0): SessionCommand {
  return { kind: 'run', session, sequence, answeredThrough, command: Uint8Array.of(byte) };
}

const PLAIN = { noNullPrototype: true } as const;
const someNumber = fc.maxSafeNat();
const someCommand: fc.Arbitrary<SessionCommand> = fc.oneof(
  fc.constant<SessionCommand>({ kind: 'open' }),
  fc
    .uint8Array({ minLength: NONCE_BYTES, maxLength: NONCE_BYTES })
    .map((nonce): SessionCommand => ({ kind: 'open', nonce })),
  fc.record({ kind: fc.constant('close' as const), session: someNumber }, PLAIN),
  fc.record(
    {
      kind: fc.constant('run' as const),
      session: someNumber,
      sequence: someNumber,
      answeredThrough: someNumber,
      command: fc.uint8Array(),
    },
    PLAIN,
  ),
);

test('a command survives its encoding, and bytes of nobody are nothing', () => {
  fc.assert(
    fc.property(someCommand, (command) => {
      assert.deepEqual(decodeSessionCommand(encodeSessionCommand(command)), command);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const command = decodeSessionCommand(bytes);
      if (command !== null) assert.deepEqual(encodeSessionCommand(command), bytes);
    }),
  );
});

test('however often and in whatever order commands come again, each runs once', () => {
  const someRetries = fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 40 });
  const someCuts = fc.array(fc.boolean(), { maxLength: 40 });
  const runs = (withSessions: boolean) =>
    fc.property(someRetries, someCuts, (sequences, cuts) => {
      let application = new Recorder();
      let machine = new SessionMachine(application, LIMITS);
      machine.apply([entry(1, { kind: 'open' })]);
      const answers = new Map<number, number>();
      for (const [at, sequence] of sequences.entries()) {
        const index = at + 2;
        machine.proposed(index, index, 1);
        const settled = machine.apply([entry(index, run(1, sequence, sequence))]);
        const outcome = settled[0]?.outcome;
        assert.ok(outcome?.kind === 'ran');
        const before = answers.get(sequence);
        assert.equal(outcome.repeated, before !== undefined);
        assert.equal(outcome.answer[0], before ?? answers.size + 1);
        answers.set(sequence, outcome.answer[0] ?? 0);
        if (cuts[at] !== true) continue;
        // Another replica takes over from a snapshot, with the sessions or (planted) without.
        const bytes = machine.encode();
        application = new Recorder();
        machine = new SessionMachine(application, LIMITS);
        if (withSessions) machine.restore(bytes);
        else {
          application.restore(Uint8Array.from(answers.keys()));
          machine.restore(withoutAnswers(bytes, application.encode(), index));
        }
      }
      assert.deepEqual([...application.ran].sort(), [...answers.keys()].sort());
    });
  fc.assert(runs(true), { numRuns: 200 });
  assert.ok(fc.check(runs(false), { numRuns: 200 }).failed, 'a forgotten answer is seen');
});

/** A snapshot whose session is there but remembers no answer. */
function withoutAnswers(_: Uint8Array, application: Uint8Array, index: number): Uint8Array {
  const fresh = new SessionMachine(new Recorder(), LIMITS);
  fresh.apply([entry(1, { kind: 'open' })]);
  const empty = fresh.encode();
  const header = empty.slice();
  new DataView(header.buffer).setUint32(4, index);
  return Uint8Array.from([...header, ...application]);
}

test('two replicas with the same history write the same bytes', () => {
  const commands = [
    { kind: 'open' },
    { kind: 'open' },
    run(2, 2, 7),
    run(1, 1, 8),
    run(2, 1, 9),
  ] as const;
  const machines = [0, 1].map(() => new SessionMachine(new Recorder(), LIMITS));
  const bytes = machines.map((machine, which) => {
    for (const [at, command] of commands.entries()) machine.apply([entry(at + 1, command)]);
    if (which === 0) return machine.encode();
    const other = new SessionMachine(new Recorder(), LIMITS);
    other.restore(machine.encode());
    return other.encode();
  });
  assert.deepEqual(bytes[0], bytes[1]);
});

test('answers that the client has are forgotten, and sessions and windows are bounded', () => {
  const table = new SessionTable(LIMITS);
  let runs = 0;
  const once = (): Uint8Array => {
    runs += 1;
    return Uint8Array.of(runs);
  };
  for (let index = 1; index <= 3; index += 1) table.apply(index, { kind: 'open' }, once);
  table.apply(4, run(1, 1, 0), once);
  assert.equal(table.apply(5, run(1, 2, 0, 1), once).kind, 'ran');
  assert.equal(table.apply(6, run(1, 1, 0, 1), once).kind, 'alreadyAnswered');
  for (let sequence = 3; sequence <= 5; sequence += 1) table.apply(7, run(1, sequence, 0, 1), once);
  assert.equal(table.apply(8, run(1, 6, 0, 1), once).kind, 'windowFull');
  assert.equal(runs, 5);
  table.apply(9, { kind: 'open' }, once);
  assert.equal(table.count, 3);
  assert.equal(table.apply(10, run(2, 1, 0), once).kind, 'unknownSession', 'used longest ago');
  assert.equal(table.apply(11, { kind: 'close', session: 3 }, once).kind, 'closed');
  assert.equal(table.apply(12, run(3, 1, 0), once).kind, 'unknownSession');
});

test('a proposal hears whether it was replaced, ran, or was passed by a snapshot', () => {
  const machine = new SessionMachine(new Recorder(), LIMITS);
  machine.proposed(10, 1, 1);
  machine.proposed(11, 2, 1);
  const settled = machine.apply([entry(1, { kind: 'open' }), entry(2, run(1, 1, 5), 2)]);
  assert.deepEqual(settled, [
    { requestId: 10, outcome: { kind: 'opened', session: 1 } },
    { requestId: 11, outcome: { kind: 'replaced' } },
  ]);
  machine.proposed(12, 3, 2);
  assert.deepEqual(machine.proposed(13, 3, 4), [{ requestId: 12, outcome: { kind: 'replaced' } }]);
  const ahead = new SessionMachine(new Recorder(), LIMITS);
  ahead.apply([
    entry(1, { kind: 'open' }),
    entry(2, run(1, 1, 5)),
    { kind: 'noop', index: 3, term: 5 },
  ]);
  assert.deepEqual(machine.restore(ahead.encode()), [
    { requestId: 13, outcome: { kind: 'unknown' } },
  ]);
  assert.equal(machine.appliedIndex, 3);
});
