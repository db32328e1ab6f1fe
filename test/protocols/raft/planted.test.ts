/** Every checker must be able to fail: each bug here is planted between a core and its host. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type {
  Effect,
  Input,
  Message,
  Raft,
  RaftTiming,
  Timed,
} from '../../../src/protocols/raft/types.ts';
import { Violation } from './checkers.ts';
import { Network } from './network.ts';
import type { Mutation } from './test-host.ts';

const SEEDS = 60;

/** The checkers that caught it within the seeds, until the wanted one did. */
function caughtBy(
  wanted: string,
  mutate: () => Mutation,
  timing: Partial<RaftTiming> = {},
): string | null {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const schedule = { seed, length: 5000 };
    try {
      new Network({ voters: 3, joiners: 1, schedule, mutate: mutate(), timing }).runChaos();
    } catch (error) {
      if (error instanceof Violation && error.checker === wanted) return wanted;
    }
  }
  return null;
}

function onEffects(change: (effect: Effect) => Effect): Mutation {
  return (raft) => ({ ...raft, step: (input) => raft.step(input).map(change) });
}

function onMessages(change: (message: Message) => Message): Mutation {
  return (raft) => ({
    ...raft,
    step: (input: Timed<Input>) =>
      raft.step(input.type === 'message' ? { ...input, message: change(input.message) } : input),
  });
}

test('a voter that says yes to everybody elects two leaders in a term', () => {
  const mutate = () =>
    onEffects((effect) =>
      effect.type === 'send' && effect.message.type === 'voteReply'
        ? { ...effect, message: { ...effect.message, granted: true } }
        : effect,
    );
  // Time-outs not much longer than a message takes: candidates stand at once.
  const timing = { heartbeatUs: 3_000, electionUs: 8_000 };
  assert.equal(caughtBy('election safety', mutate, timing), 'election safety');
});

test('an acknowledgement sent before the entries are durable loses a committed entry', () => {
  const mutate = () =>
    onEffects((effect) =>
      effect.type === 'send' && effect.message.type === 'appendReply'
        ? { ...effect, after: null }
        : effect,
    );
  assert.equal(caughtBy('committed entries survive', mutate), 'committed entries survive');
});

test('a voter that believes every log to be as good as its own elects an incomplete leader', () => {
  const mutate = () =>
    onMessages((message) =>
      message.type === 'voteRequest' || message.type === 'preVoteRequest'
        ? { ...message, lastTerm: 2 ** 40 }
        : message,
    );
  assert.equal(caughtBy('leader completeness', mutate), 'leader completeness');
});

test('a replica that writes entries under the term they came in, not their own, breaks log matching', () => {
  const mutate = (): Mutation => (raft: Raft) => ({
    ...raft,
    step: (input) => raft.step(input).map(blind),
  });
  const blind = (effect: Effect): Effect => {
    if (effect.type !== 'persist' || effect.entries.length < 2) return effect;
    const { term } = effect.hardState;
    return { ...effect, entries: effect.entries.map((entry) => ({ ...entry, term })) };
  };
  assert.equal(caughtBy('log matching', mutate), 'log matching');
});

test('a replica that applies another command than the committed one is seen', () => {
  const mutate = (): Mutation => (raft, id) => ({
    ...raft,
    step: (input) => raft.step(input).map((effect) => (id === 2 ? garbled(effect) : effect)),
  });
  const garbled = (effect: Effect): Effect => {
    if (effect.type !== 'apply') return effect;
    const entries = effect.entries.map((entry) =>
      entry.kind === 'command' ? { ...entry, data: Uint8Array.of(0) } : entry,
    );
    return { ...effect, entries };
  };
  assert.equal(caughtBy('state-machine safety', mutate), 'state-machine safety');
});

test('a commit index that goes back is seen', () => {
  const mutate = (): Mutation => (raft) => {
    let calls = 0;
    const status = () => {
      calls += 1;
      const now = raft.status();
      return calls % 50 === 0 && now.commitIndex > 0
        ? { ...now, commitIndex: now.commitIndex - 1 }
        : now;
    };
    return { ...raft, status };
  };
  assert.equal(caughtBy('commit never regresses', mutate), 'commit never regresses');
});

test('a leader that takes every echo for the newest one answers reads it may not', () => {
  const mutate = (): Mutation => (raft) => ({
    ...raft,
    // A round that only the leader itself has seen is confirmed at once.
    step: (input) => {
      const effects = raft.step(input);
      if (input.type !== 'read' || raft.status().role !== 'leader') return effects;
      const { requestId } = input;
      const { appliedIndex: index } = raft.status();
      const ready = { type: 'readReady', requestId, index, guarantee: 'linearizable' } as const;
      return [...effects, ready];
    },
  });
  assert.equal(caughtBy('linearizable reads', mutate), 'linearizable reads');
});

test('a message of a term that is not durable yet is seen', () => {
  const mutate = () =>
    onEffects((effect) => (effect.type === 'send' ? { ...effect, after: null } : effect));
  assert.equal(caughtBy('durable before said', mutate), 'durable before said');
});
