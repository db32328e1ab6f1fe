import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ReplicaOutbox } from '../../src/actors/replica-outbox.ts';
import type { AppendRequest, Message } from '../../src/protocols/raft/types.ts';

function append(to: number, fields: Partial<AppendRequest> = {}): AppendRequest {
  const ends = { previousIndex: 7, previousTerm: 3, entries: [], commit: 7, round: 2 };
  return { type: 'appendRequest', from: 1, to, term: 3, ...ends, ...fields };
}
const entries = [{ kind: 'noop', index: 8, term: 3 }] as const;

function sentBy(...messages: readonly Message[]): readonly Message[] {
  const sent: Message[] = [];
  const outbox = new ReplicaOutbox((message) => sent.push(message));
  for (const message of messages) outbox.send(message);
  outbox.release();
  assert.equal(outbox.holds, false);
  return sent;
}

describe('what a leader tells of a commit', () => {
  it('is said at the end of the turn, to each follower', () => {
    const sent: Message[] = [];
    const outbox = new ReplicaOutbox((message) => sent.push(message));
    outbox.send(append(2));
    outbox.send(append(3));
    assert.deepEqual(sent, []);
    assert.equal(outbox.holds, true);
    outbox.release();
    assert.deepEqual(sent, [append(2), append(3)]);
    outbox.release();
    assert.equal(sent.length, 2);
  });

  it('is not said at all where an append says it, and the latest where several are told', () => {
    assert.deepEqual(sentBy(append(2), append(2, { entries })), [append(2, { entries })]);
    assert.deepEqual(sentBy(append(2), append(2, { commit: 9, previousIndex: 9 })), [
      append(2, { commit: 9, previousIndex: 9 }),
    ]);
  });

  it('is said before anything that does not say it, and never after what came later', () => {
    const heartbeat = { type: 'heartbeat', from: 1, to: 2, term: 3, commit: 7, round: 2 } as const;
    assert.deepEqual(sentBy(append(2), heartbeat), [append(2), heartbeat]);
    for (const fields of [{ term: 4 }, { previousIndex: 6 }, { commit: 6 }, { round: 1 }]) {
      const other = append(2, { entries, ...fields });
      assert.deepEqual(sentBy(append(2), other), [append(2), other]);
    }
    const elsewhere = append(3, { entries });
    assert.deepEqual(sentBy(append(2), elsewhere), [elsewhere, append(2)]);
  });
});
