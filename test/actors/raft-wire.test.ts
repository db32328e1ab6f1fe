import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { dwcp } from '#wire';
import {
  encodeProposals,
  encodeRaftMessage,
  encodeRejections,
  raftGroupOf,
} from '../../src/actors/raft-wire.ts';
import { decodeRaft, type RaftPayload } from '../../src/actors/raft-wire-decode.ts';
import { ReplicaGuard } from '../../src/actors/replica-guard.ts';
import { founder } from '../../src/protocols/raft/fresh.ts';
import { createRaft } from '../../src/protocols/raft/raft.ts';
import type { Input, Message } from '../../src/protocols/raft/types.ts';
import type { Outcome } from '../../src/util/errors.ts';
import { someMessage } from './raft-wire-messages.ts';

const ADDRESS = { group: 'g', peer: 2, self: 1 };

function decodeFrame(frame: Uint8Array, address = ADDRESS): Outcome<RaftPayload | null> {
  return decodeRaft(dwcp.Envelope.decode(frame), address);
}

function frameOf(message: Message): Uint8Array {
  return dwcp.Envelope.encode(encodeRaftMessage('g', message)).finish();
}

function refusal(raftMessage: dwcp.IRaftMessage, address = ADDRESS): string {
  const addressed = { group: 'g', from: 2, to: 1, term: 5, ...raftMessage };
  const frame = dwcp.Envelope.encode({ raftMessage: addressed }).finish();
  const outcome = decodeFrame(frame, address);
  assert.ok(!outcome.ok, 'it is refused');
  assert.equal(outcome.error.code, 'ERR_DWCP_PROTOCOL');
  return outcome.error.message;
}

/** Entries' bytes are views into the frame, whatever class they are of. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (value instanceof Set) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
}

describe('the wire form of a group', () => {
  it('keeps every message of the core', () => {
    fc.assert(
      fc.property(someMessage(), (message) => {
        const outcome = decodeFrame(frameOf(message));
        assert.ok(outcome.ok, outcome.ok ? '' : outcome.error.message);
        assert.deepEqual(plain(outcome.value), plain({ type: 'message', message }));
      }),
      { numRuns: 2_000 },
    );
  });

  it('keeps proposals and what became of them', () => {
    const proposals = [
      { requestId: 0, data: Uint8Array.of(1, 2) },
      { requestId: 7, data: new Uint8Array() },
    ];
    const sent = dwcp.Envelope.encode(encodeProposals('g', proposals)).finish();
    const there = decodeFrame(sent);
    assert.ok(there.ok);
    assert.deepEqual(plain(there.value), plain({ type: 'proposals', proposals }));
    const rejections = [
      { requestId: 7, code: 'notLeader' },
      { requestId: 9, code: 'tooLarge' },
    ] as const;
    for (const leader of [null, 3]) {
      const back = decodeFrame(
        dwcp.Envelope.encode(encodeRejections('g', leader, rejections)).finish(),
      );
      assert.ok(back.ok);
      assert.deepEqual(back.value, { type: 'rejections', leader, rejections });
    }
  });

  it('tells which group an envelope is about, and that others are about none', () => {
    const vote = encodeRaftMessage('g', { type: 'timeoutNow', from: 2, to: 1, term: 1 });
    assert.equal(raftGroupOf(vote), 'g');
    assert.equal(raftGroupOf(encodeProposals('h', [])), 'h');
    assert.equal(raftGroupOf({ linkPing: {} }), null);
    const other = decodeRaft({ linkPing: {} }, ADDRESS);
    assert.ok(other.ok && other.value === null);
  });
});

describe('a message of a group is refused', () => {
  it('from another group, in another name, or for another replica', () => {
    assert.match(refusal({ group: 'h', timeoutNow: {} }), /group "h"/);
    assert.match(refusal({ from: 3, timeoutNow: {} }), /in the name of replica 3/);
    assert.match(refusal({ to: 3, timeoutNow: {} }), /for replica 3/);
  });

  it('without a body or with a number that is none', () => {
    assert.match(refusal({}), /no known type/);
    assert.match(refusal({ term: 0, timeoutNow: {} }), /term 0/);
    assert.match(refusal({ term: 2 ** 52, timeoutNow: {} }), /term/);
    assert.match(refusal({ heartbeatReply: 2 ** 60 }), /round/);
  });

  it('with entries that no log could hold', () => {
    const previous = { index: 4, term: 3 };
    const append = (appendRequest: dwcp.IRaftAppendRequest): string => refusal({ appendRequest });
    assert.match(append({ previous, entries: [{ term: 2 }] }), /entry of term 2/);
    assert.match(append({ previous, entries: [{ term: 6 }] }), /entry of term 6/);
    assert.match(append({ previous, entries: [{}] }), /term of an entry 0/);
    assert.match(append({ previous: { index: 4, term: 6 } }), /entry 4 of term 6/);
    assert.match(append({ previous: { index: 0, term: 1 } }), /entry 0 of term 1/);
    const nobody = { term: 4, configuration: { voters: [] } };
    assert.match(append({ previous, entries: [nobody] }), /group without voters/);
    const twice = { term: 4, configuration: { voters: [1, 1] } };
    assert.match(append({ previous, entries: [twice] }), /member twice/);
    const both = { round: 1, matchIndex: 3, refused: {} };
    assert.match(refusal({ appendReply: both }), /taken and refused/);
  });

  it('with a snapshot that cannot be', () => {
    const good = {
      ...{ index: 4, term: 3, configuration: { voters: [1] } },
      ...{ sizeBytes: 9, digest: 'a'.repeat(64) },
    };
    const offer = (snapshot: dwcp.IRaftSnapshot): string =>
      refusal({ snapshotOffer: { snapshot } });
    assert.match(offer({ ...good, digest: '../../x' }), /digest/);
    assert.match(offer({ ...good, index: 0, term: 0 }), /snapshot of nothing/);
    assert.match(offer({ ...good, sizeBytes: 0 }), /sizeBytes 0/);
    assert.match(refusal({ snapshotOffer: {} }), /without a name/);
    const chunk = { snapshot: good, offset: 8, data: Uint8Array.of(1, 2) };
    assert.match(refusal({ snapshotChunk: chunk }), /chunk of 2 bytes at 8/);
  });

  it('with a coded error whatever bytes come', () => {
    let refused = 0;
    const look = (frame: Uint8Array): void => {
      let envelope: dwcp.IEnvelope;
      try {
        envelope = dwcp.Envelope.decode(frame);
      } catch {
        return;
      }
      const outcome = decodeRaft(envelope, ADDRESS);
      if (outcome.ok) return;
      refused += 1;
      assert.equal(outcome.error.code, 'ERR_DWCP_PROTOCOL');
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), look), { numRuns: 3_000 });
    const mutated = fc.tuple(someMessage(), fc.array(fc.tuple(fc.nat(), fc.nat(255))), fc.nat());
    fc.assert(
      fc.property(mutated, ([message, changes, cut]) => {
        const frame = frameOf(message);
        for (const [at, byte] of changes) frame[at % frame.length] = byte;
        look(cut % 4 === 0 ? frame.subarray(0, cut % frame.length) : frame);
      }),
      { numRuns: 5_000 },
    );
    assert.ok(refused > 20, `${refused} were refused`);
  });
});

describe('what a replica lets through', () => {
  const bounds = { from: 2, to: 1, numberMax: 12, termMax: 4 };
  const someInput = fc.oneof(
    { weight: 8, arbitrary: someMessage(bounds).map((message) => ({ message })) },
    { weight: 4, arbitrary: someMessage({ ...bounds, from: 3 }).map((message) => ({ message })) },
    { weight: 3, arbitrary: fc.constantFrom({ wait: 'election' }, { wait: 'heartbeat' }) },
    { weight: 2, arbitrary: fc.constant({ propose: true }) },
    { weight: 3, arbitrary: fc.constant({ persist: true }) },
    { weight: 2, arbitrary: fc.constant({ elect: true }) },
  );

  it('breaks no assertion of the core, whatever it says', () => {
    let led = 0;
    fc.assert(
      fc.property(fc.array(someInput, { minLength: 5, maxLength: 60 }), (inputs) => {
        const restored = founder([1, 2, 3]);
        const raft = createRaft({ id: 1, restored, random: { below: (bound) => bound >> 1 } });
        const guard = new ReplicaGuard(restored);
        let nowUs = 0;
        let durable = 0;
        let asked = 0;
        const step = (input: Input): void => {
          for (const effect of raft.step({ ...input, nowUs })) {
            if (effect.type === 'persist') guard.wrote(effect);
            if ('token' in effect) asked = effect.token;
            if (effect.type === 'send') guard.sent(effect.message);
            if (effect.type === 'roleChanged' && effect.role === 'leader') led += 1;
          }
        };
        const persist = (): void => {
          durable = asked;
          if (durable > 0) step({ type: 'persisted', token: durable });
        };
        const elect = (): void => {
          nowUs += 400_000;
          step({ type: 'timer', id: 'election' });
          const voter = { from: 2, to: 1, term: raft.status().term + 1, granted: true } as const;
          step({ type: 'message', message: { type: 'preVoteReply', damaged: false, ...voter } });
          persist();
          step({ type: 'message', message: { type: 'voteReply', ...voter } });
        };
        step({ type: 'start' });
        for (const input of inputs as Record<string, unknown>[]) {
          nowUs += 1_000;
          const message = input['message'] as Message | undefined;
          if (message !== undefined) {
            const frame = frameOf(message);
            const outcome = decodeFrame(frame, { ...ADDRESS, peer: message.from });
            assert.ok(outcome.ok && outcome.value?.type === 'message');
            if (guard.lieIn(outcome.value.message) === null) step(outcome.value);
          } else if (input['propose'] === true) {
            step({ type: 'propose', commands: [{ requestId: 1, data: Uint8Array.of(1) }] });
          } else if (input['elect'] === true) {
            elect();
          } else if (input['persist'] === true) {
            persist();
          } else {
            nowUs += 400_000;
            step({ type: 'timer', id: input['wait'] as 'election' | 'heartbeat' });
          }
        }
      }),
      { numRuns: 3_000 },
    );
    assert.ok(led > 10, `it led ${led} times`);
  });
});
