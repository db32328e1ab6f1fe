import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LinkSwitch, PeerLinks } from '../../src/actors/link-switch.ts';
import type { LinkCommand, LinkReport } from '../../src/actors/messages.ts';
import type { ReplicaMessage } from '../../src/actors/replica-messages.ts';
import type { ActorRef, TellResult } from '../../src/actors/system.ts';
import { DwcpError } from '../../src/util/errors.ts';

/** Keeps what it is told, and answers as the test says. */
class Ear<M> implements ActorRef<M> {
  readonly path = '/ear';
  readonly incarnation = 1;
  readonly heard: M[] = [];
  answer: TellResult = 'accepted';

  tell(message: M): TellResult {
    this.heard.push(message);
    return this.answer;
  }
}

const RAFT: LinkReport = { type: 'envelope', peer: 'b', envelope: { raftMessage: {} } };
const MOVE: LinkReport = { type: 'envelope', peer: 'b', envelope: { copied: {} } };

function parts(): {
  node: Ear<LinkReport>;
  replica: Ear<ReplicaMessage>;
  links: PeerLinks;
  link: Ear<LinkCommand>;
  door: LinkSwitch;
} {
  const [node, replica, links] = [
    new Ear<LinkReport>(),
    new Ear<ReplicaMessage>(),
    new PeerLinks(),
  ];
  const link = new Ear<LinkCommand>();
  return { node, replica, links, link, door: new LinkSwitch(node, replica, links) };
}

test('consensus goes to the replica even while the node is full, and the rest to the node', () => {
  const { node, replica, door } = parts();
  node.answer = 'full';
  assert.equal(door.tell(RAFT), 'accepted');
  assert.equal(door.tell(MOVE), 'full');
  assert.deepEqual(
    replica.heard.map(({ type }) => type),
    ['envelope'],
  );
  assert.deepEqual(node.heard, [MOVE]);
});

test('a replica that is full costs its message and stops nobody from reading', () => {
  const { replica, door } = parts();
  replica.answer = 'full';
  assert.equal(door.tell(RAFT), 'accepted');
});

test('what the replica sends travels on the link that is up, and is lost on one that is down', () => {
  const { node, replica, links, link, door } = parts();
  const up = { type: 'linkUp', peer: 'b', bulk: {} as never, link, peerRestarted: false } as const;
  door.tell(up);
  links.send('b', { raftMessage: {} });
  const error = new DwcpError('ERR_DWCP_PEER_UNREACHABLE', 'cut');
  door.tell({ type: 'linkDown', peer: 'b', error });
  links.send('b', { raftMessage: {} });
  assert.deepEqual(
    link.heard.map(({ type }) => type),
    ['send'],
  );
  assert.deepEqual(
    [replica, node].map(({ heard }) => heard.map(({ type }) => type)),
    [
      ['linkUp', 'linkDown'],
      ['linkUp', 'linkDown'],
    ],
  );
});
