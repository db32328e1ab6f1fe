import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SimulatedHypervisor } from '../../sim/hypervisor/simulated-hypervisor.ts';
import { InstantOwnership } from '../../sim/ownership/instant-ownership.ts';
import { votersOf } from '../../src/actors/group-voters.ts';
import { Adoption } from '../../src/actors/node-adoption.ts';
import type { NodeMessage } from '../../src/actors/node-messages.ts';
import { NodeView } from '../../src/actors/node-view.ts';
import type { ActorRef } from '../../src/actors/system.ts';
import type { Guest } from '../../src/ports/hypervisor.ts';
import {
  type Completion,
  DwcpError,
  failed,
  type Outcome,
  succeeded,
} from '../../src/util/errors.ts';

type Adopt = Extract<NodeMessage, { readonly type: 'adopt' }>;

/** A host that adopts: its log has two members, its node answers what the test wants. */
class Host {
  readonly log = new InstantOwnership({ hosts: ['a', 'b'], defer: setImmediate });
  readonly hypervisor = new SimulatedHypervisor({ defer: setImmediate });
  readonly adopted: Adopt[] = [];
  readonly view = new NodeView();
  readonly silent = new Map<string, number>();
  opened = 0;
  noted: Outcome<void> = succeeded(undefined);
  readonly adoption: Adoption;

  constructor() {
    const node = {
      ...{ path: '/node', incarnation: 1 },
      tell: (message: Adopt) => {
        this.adopted.push(message);
        const { noted } = this;
        message.done(noted.ok ? succeeded(message.guest.reference.name) : noted);
        return 'accepted';
      },
    } as unknown as ActorRef<NodeMessage>;
    const ownership = this.log.portOf('a');
    const { view, silent } = this;
    this.adoption = new Adoption({ host: 'a', ownership, node, view, silent });
  }

  adopt(name: string, error: DwcpError | null = null): Promise<Outcome<string>> {
    const open = (done: Completion<Guest>): void => {
      this.opened += 1;
      const owner = this.log.get(name)?.owner;
      assert.equal(owner, 'a', 'the log says so before the process starts');
      done(error === null ? succeeded(this.hypervisor.launch(name, 4096)) : failed(error));
    };
    return new Promise((resolve) => this.adoption.adopt(name, open, resolve));
  }
}

function codeOf(outcome: Outcome<unknown>): string {
  return outcome.ok ? 'ok' : outcome.error.code;
}

const turns = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

describe('adopting a guest', () => {
  it('registers it before it is opened, and manages it under the epoch of the log', async () => {
    const host = new Host();
    host.log.apply({ type: 'register', vm: 'old', host: 'b' });
    host.log.apply({ type: 'unregister', vm: 'old', host: 'b', epoch: 1 });
    assert.deepEqual(await host.adopt('vm1'), succeeded('vm1'));
    assert.deepEqual(
      host.adopted.map(({ epoch }) => epoch),
      [2],
    );
  });

  it('starts nothing without a majority', async () => {
    const host = new Host();
    host.log.hasQuorum = false;
    assert.equal(codeOf(await host.adopt('vm1')), 'ERR_DWCP_NO_QUORUM');
    assert.equal(host.opened, 0);
  });

  it('starts nothing that another host owns, nor what came here by a migration', async () => {
    const host = new Host();
    host.log.apply({ type: 'register', vm: 'vm1', host: 'b' });
    assert.equal(codeOf(await host.adopt('vm1')), 'ERR_DWCP_NOT_OWNER');
    const terms = { vm: 'vm1', epoch: 1, migrationId: 'm1' };
    host.log.apply({ type: 'prepare', ...terms, from: 'b', to: 'a' });
    host.log.apply({ type: 'commit', ...terms, host: 'a' });
    assert.equal(codeOf(await host.adopt('vm1')), 'ERR_DWCP_GUEST_STATE');
    assert.equal(host.opened, 0);
  });

  it('starts what an operator claimed for this host, under the epoch of the claim', async () => {
    const host = new Host();
    host.log.apply({ type: 'register', vm: 'vm1', host: 'b' });
    host.log.apply({ type: 'claim', vm: 'vm1', epoch: 1, host: 'a', operator: 'olga' });
    assert.deepEqual(await host.adopt('vm1'), succeeded('vm1'));
    assert.deepEqual(
      host.adopted.map(({ epoch }) => epoch),
      [2],
    );
  });

  it('gives the name back when the guest does not start or cannot be noted', async () => {
    const host = new Host();
    const broken = new DwcpError('ERR_DWCP_GUEST_FAILED', 'no such machine');
    assert.equal(codeOf(await host.adopt('vm1', broken)), 'ERR_DWCP_GUEST_FAILED');
    await turns();
    assert.equal(host.log.get('vm1'), null);
    host.noted = failed(new DwcpError('ERR_DWCP_STORAGE', 'full'));
    assert.equal(codeOf(await host.adopt('vm1')), 'ERR_DWCP_STORAGE');
    await turns();
    assert.equal(host.log.get('vm1'), null);
    host.noted = succeeded(undefined);
    assert.equal(codeOf(await host.adopt('vm1')), 'ok');
  });

  it('starts no second one of what may run here and did not answer', async () => {
    const host = new Host();
    host.log.apply({ type: 'register', vm: 'vm1', host: 'a' });
    host.silent.set('vm1', 77);
    const outcome = await host.adopt('vm1');
    assert.equal(codeOf(outcome), 'ERR_DWCP_GUEST_STATE');
    assert.match(outcome.ok ? '' : outcome.error.message, /process 77/);
    assert.equal(host.opened, 0);
    assert.equal(codeOf(await host.adopt('vm2')), 'ok');
  });

  it('takes a name once, so that a second attempt does not unregister the first', async () => {
    const host = new Host();
    const [first, second] = await Promise.all([host.adopt('vm1'), host.adopt('vm1')]);
    assert.deepEqual([codeOf(first), codeOf(second)], ['ok', 'ERR_DWCP_GUEST_STATE']);
    assert.equal(host.log.get('vm1')?.owner, 'a');
  });
});

describe('the voters of a group', () => {
  const peers = [
    { id: 'c', host: 'c', port: 1 },
    { id: 'b', host: 'b', port: 1 },
  ];

  it('are this host and all its peers where none are named', () => {
    assert.deepEqual(votersOf({ id: 'a', peers }), ['a', 'b', 'c']);
    assert.deepEqual(votersOf({ id: 'a', peers, group: { voters: [] } }), ['a', 'b', 'c']);
    assert.deepEqual(votersOf({ id: 'a', peers: [] }), ['a']);
  });

  it('are refused with a code when one is a stranger, doubled, or this host is missing', () => {
    for (const voters of [
      ['a', 'd'],
      ['a', 'b', 'b'],
      ['b', 'c'],
    ]) {
      const refuse = (): unknown => votersOf({ id: 'a', peers, group: { voters } });
      assert.throws(refuse, { code: 'ERR_DWCP_CONFIG' }, voters.join());
    }
  });
});
