import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dwcp } from '#wire';
import type { ReadPoint } from '../../src/actors/replica-messages.ts';
import type { Outcome } from '../../src/util/errors.ts';
import {
  answer,
  answered,
  code,
  GROUP,
  type Proposed,
  ReplicaWorld,
  SECOND_US,
} from './replica-world.ts';

describe('a replica', () => {
  it('answers a proposal on the host that made it, wherever the leader is', () => {
    const world = new ReplicaWorld(3);
    const leader = world.leader();
    const proposed = world.names.map((name) => world.propose(name, `from ${name}`));
    world.await('all answers', () => answered(proposed));
    const texts = proposed.map(answer);
    assert.deepEqual(
      texts.map((text) => text.slice(2)).sort(),
      world.names.map((name) => `from ${name}`),
    );
    assert.deepEqual(texts.map((text) => text[0]).sort(), ['1', '2', '3']);
    world.run(SECOND_US);
    world.assertSame();
    assert.equal(world.status(leader).role, 'leader');
    world.end();
  });

  it('answers only what it has applied itself', () => {
    const world = new ReplicaWorld(3);
    const follower = world.follower();
    const proposed = world.propose(follower, 'x');
    world.await('the answer', () => answered([proposed]));
    assert.deepEqual(world.life(follower).application.commands, ['x']);
    world.end();
  });

  it('of a group of one host needs nobody', () => {
    const world = new ReplicaWorld(1);
    const proposed = world.propose('host-0', 'alone');
    world.await('the answer', () => answered([proposed]));
    assert.equal(answer(proposed), '1 alone');
    world.end();
  });

  it('proposes what comes together in one write and few messages', () => {
    const world = new ReplicaWorld(3);
    const leader = world.leader();
    const first = world.propose(leader, 'opens the session');
    world.await('the session', () => answered([first]));
    let appends = 0;
    world.onFrame = (from, _to, frame) => {
      const entries = dwcp.Envelope.decode(frame).raftMessage?.appendRequest?.entries ?? [];
      if (from === leader && entries.length > 0) appends += 1;
      return frame;
    };
    const proposed = Array.from({ length: 200 }, (_, at) => world.propose(leader, `command ${at}`));
    world.await('all answers', () => answered(proposed));
    assert.ok(appends <= 20, `${appends} messages with entries for 200 commands and 2 followers`);
    world.assertSame();
    world.end();
  });

  it('proposes again what the network swallowed', () => {
    const world = new ReplicaWorld(3);
    const follower = world.follower();
    let swallowed = 0;
    world.onFrame = (from, _to, frame) => {
      if (from !== follower || swallowed >= 3) return frame;
      if (dwcp.Envelope.decode(frame).raftProposals == null) return frame;
      swallowed += 1;
      return null;
    };
    const proposed = world.propose(follower, 'lost at first');
    world.await('the answer', () => answered([proposed]));
    assert.equal(swallowed, 3);
    world.assertSame();
    world.end();
  });

  it('without a majority says who is missing when patience is over', () => {
    const world = new ReplicaWorld(3);
    world.leader();
    world.crash('host-1');
    world.crash('host-2');
    world.run(3 * SECOND_US);
    const proposed = world.propose('host-0', 'in vain', 500);
    world.run(SECOND_US);
    assert.equal(code(proposed), 'ERR_DWCP_NO_QUORUM');
    assert.ok(proposed.outcome?.ok === false);
    assert.match(proposed.outcome.error.message, /host-1, host-2 are not heard/);
    assert.match(proposed.outcome.error.hint ?? '', /host-1 or host-2/);
    const { problem, missing, leader } = world.status('host-0');
    assert.deepEqual({ missing, leader }, { missing: ['host-1', 'host-2'], leader: null });
    assert.match(problem ?? '', /1 of 3 hosts are not enough/);
    world.end();
  });

  it('waits for a majority for ever when patience has no end', () => {
    const world = new ReplicaWorld(3);
    world.leader();
    world.crash('host-1');
    world.crash('host-2');
    const proposed = world.propose('host-0', 'patient');
    world.run(60 * SECOND_US);
    assert.equal(proposed.outcome, null);
    world.restart('host-1');
    world.await('the answer', () => answered([proposed]));
    assert.equal(answer(proposed), '1 patient');
    world.end();
  });

  it('takes no more proposals than it may hold, by number and by bytes', () => {
    const proposals = { waiting: 10, waitingBytes: 1_000 };
    const world = new ReplicaWorld(3, { proposals });
    const many = Array.from({ length: 12 }, (_, at) => world.propose('host-0', `${at}`));
    world.await('the answers', () => answered(many));
    assert.deepEqual(many.map(({ outcome }) => outcome?.ok === true).indexOf(false), 10);
    assert.equal(code(many[11] as Proposed), 'ERR_DWCP_LIMIT');
    const large = world.propose('host-0', 'x'.repeat(700));
    const larger = world.propose('host-0', 'y'.repeat(700));
    world.await('the answers', () => answered([large, larger]));
    assert.equal(answer(large).length, 703);
    assert.equal(code(larger), 'ERR_DWCP_LIMIT');
    world.end();
  });

  it('refuses a command that fits into no message', () => {
    const world = new ReplicaWorld(3, { limits: { messageBytes: 4_096 } });
    const proposed = world.propose('host-0', 'x'.repeat(4_096));
    world.await('the answer', () => answered([proposed]));
    assert.equal(code(proposed), 'ERR_DWCP_LIMIT');
    world.end();
  });

  it('runs nothing twice when the group forgot its session, and goes on in another', () => {
    const world = new ReplicaWorld(3);
    const first = world.propose('host-0', 'first');
    world.await('the answer', () => answered([first]));
    // More lives than the group keeps sessions: each proposal of a new life opens one.
    for (let life = 0; life < 300; life += 1) {
      world.crash('host-1');
      world.restart('host-1');
      const one = world.propose('host-1', `life ${life}`);
      world.await('an answer', () => answered([one]), 20 * SECOND_US);
    }
    const again = Array.from({ length: 5 }, (_, at) => world.propose('host-0', `again ${at}`));
    world.await('the answers', () => answered(again));
    for (const one of again) answer(one);
    world.run(SECOND_US);
    world.assertSame();
    world.end();
  });
});

describe('reads of a replica', () => {
  const kinds = [
    { kind: 'linearizable' },
    { kind: 'lease', maxDriftPpm: 500 },
    { kind: 'stale' },
  ] as const;

  it('are answered under each guarantee, by leader and follower', () => {
    const world = new ReplicaWorld(3);
    world.leader();
    const proposed = world.propose('host-0', 'x');
    world.await('the answer', () => answered([proposed]));
    for (const name of world.names) {
      for (const guarantee of kinds) {
        let outcome: Outcome<ReadPoint> | null = null;
        const done = (given: Outcome<ReadPoint>): void => {
          outcome = given;
          if (guarantee.kind === 'stale') return;
          assert.deepEqual(world.life(name).application.commands, ['x']);
        };
        world.life(name).ref.tell({ type: 'read', guarantee, patienceMs: 1_000, done });
        world.await('the read', () => outcome !== null);
        assert.ok((outcome as unknown as Outcome<ReadPoint>).ok);
      }
    }
    world.end();
  });

  it('wait for a leader, and end with patience', () => {
    const world = new ReplicaWorld(3);
    const outcomes: Outcome<ReadPoint>[] = [];
    const guarantee = { kind: 'linearizable' } as const;
    const read = (patienceMs: number | null): void => {
      const done = (outcome: Outcome<ReadPoint>): void => void outcomes.push(outcome);
      world.life('host-0').ref.tell({ type: 'read', guarantee, patienceMs, done });
    };
    read(null);
    world.await('the read', () => outcomes.length === 1);
    assert.ok(outcomes[0]?.ok);
    world.crash('host-1');
    world.crash('host-2');
    world.run(2 * SECOND_US);
    read(200);
    world.await('the read', () => outcomes.length === 2, SECOND_US);
    assert.ok(outcomes[1]?.ok === false);
    assert.equal(outcomes[1].error.code, 'ERR_DWCP_NO_QUORUM');
    world.end();
  });
});

describe('leadership', () => {
  it('is handed over when the leader is asked to', () => {
    const world = new ReplicaWorld(3);
    const leader = world.leader();
    const to = world.follower();
    const outcomes: Outcome<void>[] = [];
    const ask = (name: string): void => {
      const done = (outcome: Outcome<void>): void => void outcomes.push(outcome);
      world.life(name).ref.tell({ type: 'transferLeadership', to, done });
    };
    ask(to);
    ask(leader);
    ask(leader);
    world.await('the answers', () => outcomes.length === 3);
    assert.deepEqual(
      outcomes.map(({ ok }) => ok),
      [false, false, true],
    );
    assert.equal(world.leader(), to);
    world.end();
  });
});

describe('a replica whose disk fails', () => {
  it('stops, says why and answers what waits, while the others go on', () => {
    const world = new ReplicaWorld(3);
    const leader = world.leader();
    const other = world.follower();
    world.host(leader).disk.fsyncFails += 1;
    const lost = world.propose(leader, 'on a bad disk');
    world.await('the answer', () => answered([lost]));
    assert.equal(code(lost), 'ERR_DWCP_STORAGE');
    const { phase, problem } = world.status(leader);
    assert.equal(phase, 'halted');
    assert.match(problem ?? '', /fdatasync of raft-log failed/);
    const late = world.propose(leader, 'too late');
    const well = world.propose(other, 'well');
    world.await('the answers', () => answered([late, well]));
    assert.equal(code(late), 'ERR_DWCP_STORAGE');
    assert.match(answer(well), /well$/);
    world.end();
  });
});

describe('what a replica refuses', () => {
  it('is told once per peer, and changes nothing', () => {
    const world = new ReplicaWorld(3);
    const leader = world.leader();
    const strange = (envelope: dwcp.IEnvelope): void => {
      world.life(leader).ref.tell({ type: 'envelope', peer: world.follower(), envelope });
    };
    for (let time = 0; time < 3; time += 1) {
      strange({ raftMessage: { group: 'others', from: 1, to: 2, term: 3, voteReply: true } });
      strange({ raftProposals: { group: 'others', proposals: [] } });
    }
    world.run(SECOND_US);
    const refused = world.life(leader).reports.filter((text) => text.includes('refused'));
    assert.equal(refused.length, 1);
    assert.match(refused[0] ?? '', /a message of group "others"/);
    assert.equal(world.status(leader).group, GROUP);
    assert.equal(world.leader(), leader);
    world.end();
  });

  it('is what only a liar says', () => {
    const world = new ReplicaWorld(3);
    const leader = world.leader();
    const liar = world.follower();
    const id = (name: string): number => world.names.indexOf(name) + 1;
    const { term } = world.status(leader);
    const lies: dwcp.IRaftMessage[] = [
      { heartbeat: { commit: 0, round: 1 } },
      { heartbeatReply: 1_000_000 },
      { appendReply: { round: 1, matchIndex: 1_000_000 } },
      { snapshotReply: { index: 99, digest: 'a'.repeat(64), installed: true, round: 1 } },
    ];
    for (const lie of lies) {
      const raftMessage = { group: GROUP, from: id(liar), to: id(leader), term, ...lie };
      world.life(leader).ref.tell({ type: 'envelope', peer: liar, envelope: { raftMessage } });
    }
    const proposed = world.propose(leader, 'still here');
    world.await('the answer', () => answered([proposed]));
    const { role, commitIndex } = world.status(leader);
    assert.equal(role, 'leader');
    assert.ok(commitIndex < 100);
    world.end();
  });
});
