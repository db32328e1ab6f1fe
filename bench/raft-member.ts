/**
 * One member of a replicated group, a process of its own: the shipped replica on the shipped log and real
 * TLS links. It loads itself as an embedding process would, and serves clients over gRPC.
 */
import type { dwcp as Wire } from '#wire';
import { dwcp } from '#wire';
import { createNactHost } from '../src/actors/nact-host.ts';
import { spawnReplica } from '../src/actors/replica.ts';
import type { ReplicaMessage, ReplicaStatus } from '../src/actors/replica-messages.ts';
import type { ActorRef } from '../src/actors/system.ts';
import type { NodeIdentity } from '../src/identity/authority.ts';
import type { ControlChannel } from '../src/ports/transport.ts';
import type { ReadGuarantee } from '../src/protocols/raft/types.ts';
import { systemClock } from '../src/system/clock.ts';
import { systemRandom } from '../src/system/random.ts';
import { createTlsControlTransport } from '../src/transports/tls-control.ts';
import { promised } from '../src/util/promised.ts';
import { keyOf, type LoadFigures, type LoadPlan, madeValue, runLoad } from './kv-load.ts';
import { serveKv } from './kv-server.ts';
import { type AppliedCount, KvStore } from './kv-store.ts';
import { encodePut } from './kv-wire.ts';
import { openMemberLog, sha256 } from './raft-member-log.ts';

export interface MemberPlan {
  readonly identity: NodeIdentity;
  /** Every member, this one too. */
  readonly members: readonly { readonly id: string; readonly port: number }[];
  readonly dataDir: string;
}

export type MemberOrder =
  | { readonly type: 'status' }
  | { readonly type: 'count' }
  | { readonly type: 'load'; readonly plan: LoadPlan }
  | { readonly type: 'reads'; readonly plan: LoadPlan; readonly guarantee: ReadGuarantee }
  /** One command; answered with the moment of CLOCK_MONOTONIC at which it was known to be applied. */
  | { readonly type: 'probe'; readonly operation: number; readonly valueBytes: number }
  | { readonly type: 'transfer'; readonly to: string };

export type MemberAnswer =
  | { readonly type: 'ready'; readonly grpcPort: number }
  | { readonly type: 'status'; readonly status: ReplicaStatus }
  | { readonly type: 'count'; readonly count: AppliedCount }
  | { readonly type: 'figures'; readonly figures: LoadFigures }
  | { readonly type: 'probed'; readonly atMs: number }
  | { readonly type: 'transferred'; readonly tookMs: number }
  | { readonly type: 'failed'; readonly error: string };

const GROUP = 'bench';
const PATIENCE_MS = 20_000;
const DIAL_AGAIN_MS = 20;

async function runMember({ identity, members, dataDir }: MemberPlan): Promise<void> {
  const self = identity.nodeId;
  const host = createNactHost({
    clock: systemClock(),
    onCrash: ({ error }) => {
      console.error(error);
      process.exit(1);
    },
  });
  const store = new KvStore();
  const replicaNumber = members.findIndex(({ id }) => id === self) + 1;
  const logIdentity = { group: GROUP, replica: replicaNumber };
  const log = await openMemberLog(dataDir, logIdentity, members.length);
  const channels = new Map<string, ControlChannel>();
  const replica = spawnReplica(host, {
    group: GROUP,
    self,
    members: members.map(({ id }) => id),
    log,
    digest: sha256,
    application: store,
    random: systemRandom(),
    send: (peer, envelope) => {
      const channel = channels.get(peer);
      // As the shipped link does: what a channel cannot hold is the end of it.
      if (channel?.send(dwcp.Envelope.encode(envelope).finish()) === 'full') channel.close();
    },
  });
  await link(self, identity, members, channels, replica);
  const grpcPort = await serveKv(replica, store);
  process.on('message', (order: MemberOrder) => {
    obey(order, replica, store).then(answer, (error: unknown) =>
      answer({ type: 'failed', error: String(error) }),
    );
  });
  answer({ type: 'ready', grpcPort });
}

/** Whoever has the lower place dials, again and again. */
async function link(
  self: string,
  identity: NodeIdentity,
  members: MemberPlan['members'],
  channels: Map<string, ControlChannel>,
  replica: ActorRef<ReplicaMessage>,
): Promise<void> {
  const control = createTlsControlTransport({ identity });
  const place = members.findIndex(({ id }) => id === self);
  const join = (channel: ControlChannel, onClosed: () => void): void => {
    channels.set(channel.peer, channel);
    channel.subscribe((event) => {
      if (event.type === 'frame') {
        const envelope: Wire.Envelope = dwcp.Envelope.decode(event.frame);
        replica.tell({ type: 'envelope', peer: channel.peer, envelope });
        return;
      }
      if (channels.get(channel.peer) === channel) {
        channels.delete(channel.peer);
        replica.tell({ type: 'linkDown', peer: channel.peer });
      }
      onClosed();
    });
    replica.tell({ type: 'linkUp', peer: channel.peer });
  };
  const port = members[place]?.port ?? 0;
  await promised((done) =>
    control.listen({ host: '127.0.0.1', port }, (channel) => join(channel, () => {}), done),
  );
  const dial = (id: string, peerPort: number): void => {
    const again = (): void => {
      setTimeout(() => dial(id, peerPort), DIAL_AGAIN_MS);
    };
    control.dial({ host: '127.0.0.1', port: peerPort }, id, (outcome) => {
      if (outcome.ok) join(outcome.value, again);
      else again();
    });
  };
  for (const { id, port: peerPort } of members.slice(place + 1)) dial(id, peerPort);
}

async function obey(
  order: MemberOrder,
  replica: ActorRef<ReplicaMessage>,
  store: KvStore,
): Promise<MemberAnswer> {
  const put = (
    operation: number,
    valueBytes: number,
    done: (error: Error | null) => void,
  ): void => {
    const command = encodePut({ key: keyOf(operation), value: madeValue(operation, valueBytes) });
    replica.tell({
      type: 'propose',
      command,
      patienceMs: PATIENCE_MS,
      done: (outcome) => done(outcome.ok ? null : outcome.error),
    });
  };
  switch (order.type) {
    case 'status': {
      const status = await promised<ReplicaStatus>((done) =>
        replica.tell({ type: 'status', done }),
      );
      return { type: 'status', status };
    }
    case 'count':
      return { type: 'count', count: store.count };
    case 'load': {
      const { valueBytes } = order.plan;
      const figures = await runLoad(order.plan, (operation, done) =>
        put(operation, valueBytes, done),
      );
      return { type: 'figures', figures };
    }
    case 'reads': {
      const figures = await runLoad(order.plan, (operation, done) => {
        replica.tell({
          type: 'read',
          guarantee: order.guarantee,
          patienceMs: PATIENCE_MS,
          done: (outcome) => {
            if (!outcome.ok) done(outcome.error);
            else done(store.get(keyOf(operation)) === null ? new Error('nothing is there') : null);
          },
        });
      });
      return { type: 'figures', figures };
    }
    case 'probe':
      await new Promise<void>((resolve, reject) => {
        put(order.operation, order.valueBytes, (error) =>
          error === null ? resolve() : reject(error),
        );
      });
      return { type: 'probed', atMs: monotonicMs() };
    case 'transfer': {
      const startedMs = monotonicMs();
      await promised<void>((done) =>
        replica.tell({ type: 'transferLeadership', to: order.to, done }),
      );
      return { type: 'transferred', tookMs: monotonicMs() - startedMs };
    }
  }
}

function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

function answer(message: MemberAnswer): void {
  process.send?.(message);
}

await runMember(JSON.parse(process.argv[2] ?? '{}') as MemberPlan);
