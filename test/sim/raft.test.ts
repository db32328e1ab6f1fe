/** Depth `raft`: clean seeds pass, and every checker catches what was planted for it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { appliedOnce } from '../../sim/checkers/raft/applied-once.ts';
import { commitment } from '../../sim/checkers/raft/commitment.ts';
import { votes } from '../../sim/checkers/raft/votes.ts';
import { simulate } from '../../sim/index.ts';
import { drawVariation } from '../../sim/raft/variation.ts';
import { raftScenario } from '../../sim/scenarios/raft.ts';
import { Decisions } from '../../sim/world/decisions.ts';
import { configure } from '../../sim/world/simulate.ts';
import type { Effect, Entry, Message, Raft, RaftTiming } from '../../src/protocols/raft/types.ts';

const small = {
  timing: { chaosUs: 10_000_000 },
  workload: { operations: 200, thinkMaxUs: 200_000 },
};
const SEEDS = 40;

type Mutation = (raft: Raft, id: number) => Raft;

/** The first seed that the checker of that name fails. */
function assertCaught(
  checker: string,
  makeMutation: () => Mutation,
  timing: Partial<RaftTiming> = {},
): void {
  const others = new Set<string>();
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const options = { heartbeatUs: 50_000, electionUs: 150_000, ...timing };
    const scenario = raftScenario({ mutate: makeMutation(), timing: options, checks: checker });
    const { violation } = simulate(scenario, { seed, ...small });
    if (violation?.checker === checker) return;
    if (violation !== null) others.add(violation.checker);
  }
  assert.fail(`${checker} found nothing in ${SEEDS} seeds; others: ${[...others].join(', ')}`);
}

const onEffects =
  (change: (effect: Effect) => Effect): Mutation =>
  (raft) => ({ ...raft, step: (input) => raft.step(input).map(change) });

const onMessages =
  (change: (message: Message) => Message): Mutation =>
  (raft) => ({
    ...raft,
    step: (input) =>
      raft.step(input.type === 'message' ? { ...input, message: change(input.message) } : input),
  });

test('clean seeds with every fault of the depth find nothing', () => {
  const sometimes = new Set<string>();
  for (const seed of [1, 2, 3]) {
    const result = simulate(raftScenario(), { seed, ...small });
    assert.equal(result.violation, null);
    for (const [label, count] of Object.entries(result.sometimes))
      if (count > 0) sometimes.add(label);
  }
  for (const label of [
    'a leader was elected',
    'a configuration was joint',
    'a snapshot was installed',
  ]) {
    assert.ok(sometimes.has(label), label);
  }
});

test('default seeds last a minute, ask a thousand times, and differ in size and load', () => {
  const seen = { hosts: new Set(), clients: new Set(), operations: new Set(), thinking: new Set() };
  for (let seed = 1; seed <= 40; seed += 1) {
    const { hosts, workload, timing } = configure(raftScenario(), { seed });
    assert.ok(timing.chaosUs >= 60_000_000 && workload.operations >= 1_000);
    seen.hosts.add(hosts);
    seen.clients.add(workload.clients);
    seen.operations.add(workload.operations);
    seen.thinking.add(workload.thinkMaxUs);
  }
  assert.deepEqual([...seen.hosts].sort(), [3, 4, 5, 7]);
  assert.ok(seen.clients.size >= 5 && seen.operations.size > 30 && seen.thinking.size > 30);
  const drawn = [1, 2, 3, 4, 5, 6].map((seed) =>
    JSON.stringify(drawVariation(new Decisions({ seed, replay: null, record: false }).stream('x'))),
  );
  assert.equal(new Set(drawn).size, drawn.length);
  const asked = configure(raftScenario(), { seed: 1, hosts: 9, workload: { clients: 2 } });
  assert.equal(asked.hosts, 9);
  assert.equal(asked.workload.clients, 2);
});

test('a default seed does all its operations and heals', () => {
  const { violation, history, simulatedMs } = simulate(raftScenario(), { seed: 3 });
  assert.equal(violation, null);
  assert.ok(history.length >= 1_000 && simulatedMs >= 60_000);
});

test('a seed of it is the same twice', () => {
  const [first, second] = [1, 2].map(() => simulate(raftScenario(), { seed: 9, ...small }));
  assert.equal(first?.traceHash, second?.traceHash);
});

test('a voter that says yes to everybody elects two leaders in a term', () => {
  const yes = onEffects((effect) =>
    effect.type === 'send' && effect.message.type === 'voteReply'
      ? { ...effect, message: { ...effect.message, granted: true } }
      : effect,
  );
  // Time-outs not much longer than a message takes: candidates stand at once.
  assertCaught('election-safety', () => yes, { heartbeatUs: 3_000, electionUs: 8_000 });
});

test('an acknowledgement before the entries are durable is seen to lose committed ones', () => {
  const hasty = onEffects((effect) =>
    effect.type === 'send' && effect.message.type === 'appendReply'
      ? { ...effect, after: null }
      : effect,
  );
  assertCaught('committed-survives', () => hasty);
});

test('a voter that believes every log to be as good as its own elects an incomplete leader', () => {
  const naive = onMessages((message) =>
    message.type === 'voteRequest' || message.type === 'preVoteRequest'
      ? { ...message, lastTerm: 2 ** 40 }
      : message,
  );
  assertCaught('leader-completeness', () => naive);
});

test('a vote that is forgotten at a restart is seen before it elects anybody', () => {
  // Of all that is written from here on, and so of what every later life finds.
  const forgetful = onEffects((effect) =>
    effect.type === 'persist'
      ? { ...effect, hardState: { ...effect.hardState, vote: null } }
      : effect,
  );
  assertCaught('votes', () => forgetful);
});

test('a vote that changes, or that its disk does not have, is told at once', () => {
  const checker = votes();
  const replica = { id: 3, firstIndex: 1, termAt: () => null };
  const vow = (before: [number, number | null], after: [number, number | null]) =>
    checker.vowed?.(replica, hard(before), hard(after)) ?? null;
  assert.equal(vow([4, null], [4, 2]), null);
  assert.equal(vow([4, 2], [4, 2]), null);
  assert.equal(vow([4, 2], [5, null]), null);
  assert.match(vow([4, 2], [4, 1]) ?? '', /voted for 2 in term 4/);
  assert.match(vow([4, 2], [4, null]) ?? '', /then for nobody/);
  assert.match(vow([4, 2], [3, 2]) ?? '', /back to 3/);
  const told = { term: 4, vote: 2 };
  const promise = (durable: [number, number | null]) =>
    checker.promised?.(replica, hard(durable), told) ?? null;
  assert.equal(promise([4, 2]), null);
  assert.equal(promise([5, null]), null);
  assert.match(promise([4, null]) ?? '', /for nobody/);
  assert.match(promise([3, 2]) ?? '', /term 3/);
});

function hard([term, vote]: [number, number | null]) {
  return { term, vote, commit: 0 };
}

test('what another log could still outvote is no commit (Raft, figure 8)', () => {
  const checker = commitment();
  const none: ReadonlySet<number> = new Set();
  const others = { votersOutgoing: none, learners: none, learnersNext: none, autoLeave: false };
  const configuration = { voters: new Set([1, 2, 3, 4, 5]), ...others };
  const candidates = (logs: readonly (readonly number[])[]) =>
    logs.map((terms, at) => ({
      replica: { id: at + 1, firstIndex: 1, termAt: (index: number) => terms[index - 1] ?? null },
      ...{ configuration, last: { index: terms.length, term: terms.at(-1) ?? 0 } },
    }));
  const entry = { kind: 'noop', index: 2, term: 2 } as const;
  const commit = (logs: readonly (readonly number[])[]) =>
    checker.committed?.({ id: 1, entry, candidates: candidates(logs) }) ?? null;
  const fifth = [1, 3];
  assert.match(commit([[1, 2, 4], [1, 2], [1, 2], [1], fifth]) ?? '', /5 could be elected/);
  assert.equal(commit([[1, 2, 4], [1, 2, 4], [1, 2, 4], [1], fifth]), null);
  assert.equal(commit([[1, 2], [1, 2], [1, 2], [1], [1]]), null);
});

test('a replica that writes entries under another term than theirs breaks log matching', () => {
  const blind = onEffects((effect) => {
    if (effect.type !== 'persist') return effect;
    const { term } = effect.hardState;
    return { ...effect, entries: effect.entries.map((entry) => ({ ...entry, term })) };
  });
  assertCaught('log-matching', () => blind);
});

test('a replica that applies another command than the committed one is seen', () => {
  const garbled = (entry: Entry): Entry =>
    entry.kind === 'command' ? { ...entry, data: Uint8Array.of(0) } : entry;
  const wrong: Mutation = (raft, id) =>
    id !== 2
      ? raft
      : onEffects((effect) =>
          effect.type === 'apply' ? { ...effect, entries: effect.entries.map(garbled) } : effect,
        )(raft, id);
  assertCaught('state-machine-safety', () => wrong);
});

test('a commit index that goes back is seen', () => {
  const forgetful = (): Mutation => {
    let writes = 0;
    return onEffects((effect) => {
      if (effect.type !== 'persist') return effect;
      writes += 1;
      const commit = writes % 50 === 0 ? 0 : effect.hardState.commit;
      return { ...effect, hardState: { ...effect.hardState, commit } };
    });
  };
  assertCaught('commit-never-regresses', forgetful);
});

test('a command that a forgotten session lets through twice is seen', () => {
  const checker = appliedOnce();
  const replica = (id: number) => ({ id, firstIndex: 1, termAt: () => null });
  assert.equal(checker.did?.(replica(1), 5, 'client-0/7'), null);
  assert.equal(checker.did?.(replica(2), 5, 'client-0/7'), null);
  assert.match(checker.did?.(replica(2), 9, 'client-0/7') ?? '', /was done at 5/);
});

test('a replica that answers reads without asking anybody is caught by what clients saw', () => {
  const rash: Mutation = (raft) => ({
    ...raft,
    step: (input) => {
      if (input.type !== 'read') return raft.step(input);
      const { appliedIndex: index } = raft.status();
      return [{ type: 'readReady', requestId: input.requestId, index, guarantee: 'linearizable' }];
    },
  });
  assertCaught('linearizability', () => rash);
});
