/** Depth `raft`: the cores alone, a key-value store on them, an operator, and clients who are never sure. */
import { checkers } from '../checkers/checkers.ts';
import { type KvInput, models } from '../checkers/models.ts';
import {
  type ClientAnswer,
  type ClientRequest,
  type ClusterOptions,
  RaftCluster,
} from '../raft/cluster.ts';
import {
  DRIFT_MAX_PPM,
  drawGuarantee,
  drawShape,
  drawVariation,
  GIVE_UP_US,
  nextInput,
  type Traffic,
} from '../raft/variation.ts';
import type { ClientCall } from '../world/clients.ts';
import type { SimEvent } from '../world/event-queue.ts';
import type { SimHost } from '../world/host.ts';
import type { Run, Scenario } from '../world/scenario.ts';
import type { World } from '../world/world.ts';

const RETRY_US = 150_000;

const DEFAULT_OPTIONS: Pick<ClusterOptions, 'mutate' | 'checks'> = {
  mutate: (raft) => raft,
  checks: true,
};

interface Deployment {
  readonly cluster: RaftCluster;
  readonly traffic: Traffic;
}

export function raftScenario(
  change: Partial<ClusterOptions> & { readonly name?: string } = {},
): Scenario<KvInput> {
  const deployments = new WeakMap<World, Deployment>();
  const deploymentIn = (world: World): Deployment => {
    const known = deployments.get(world);
    if (known !== undefined) return known;
    const { traffic, ...drawn } = drawVariation(world.random('raft/variation'));
    const cluster = new RaftCluster(world, { ...DEFAULT_OPTIONS, ...drawn, ...change });
    const deployment = { cluster, traffic };
    deployments.set(world, deployment);
    return deployment;
  };
  return {
    name: change.name ?? 'raft',
    depth: 'core',
    describe:
      'the Raft core: a key-value store, membership changes, hand-overs, three kinds of reads',
    hosts: 5,
    vary: drawShape,
    boot: (host) => deploymentIn(host.world).cluster.boot(host),
    clients: {
      next: (random, serial, world) => nextInput(random, serial, deploymentIn(world).traffic),
      perform: (node, call, done) => perform(node, call, deploymentIn(node.world).traffic, done),
    },
    faults: [
      ...(['crash', 'pause', 'partition', 'clog', 'loss', 'clock'] as const),
      ...(['disk-stall', 'disk-fsync-error'] as const),
    ],
    faultyHostsMax: 7,
    driftMaxPpm: DRIFT_MAX_PPM,
    focus: (world) => deploymentIn(world).cluster.leader(),
    checkers: change.checks === false ? [] : [checkers.linearizability(models.kv)],
    finalState: ({ world }: Run<KvInput>) => deploymentIn(world).cluster.finalState(),
    probes: [
      ...['a leader was elected', 'a configuration was joint', 'leadership was handed over'],
      ...['a snapshot was installed', 'a replica halted', 'an operation timed out'],
    ],
  };
}

/** Asks whom it believes to lead, and again elsewhere, under one id: the session does it once. */
function perform(
  node: SimHost,
  { id, input }: ClientCall<KvInput>,
  traffic: Traffic,
  done: (output: unknown) => void,
): void {
  const random = node.random('client');
  const hosts = node.world.hosts.length;
  const guarantee = drawGuarantee(random, input, traffic);
  let target = random.below(hosts);
  const from = `${node.name}/kv-client`;
  let attempt = 0;
  let finished = false;
  let retry: SimEvent | null = null;
  const ask = (): void => {
    if (finished) return;
    attempt += 1;
    const request: ClientRequest = { session: node.name, id, input, attempt, guarantee, from };
    node.send(`host-${target}/kv`, request);
    const asked = attempt;
    if (retry !== null) retry.cancelled = true;
    retry = node.after(RETRY_US, 'retry', () => {
      if (attempt !== asked) return;
      target = random.below(hosts);
      ask();
    });
  };
  // One call at a time: the next one's handler takes the place of this one's.
  node.on<ClientAnswer>('kv-client', (answer) => {
    if (finished || answer.id !== id || answer.attempt !== attempt) return;
    if (answer.ok) {
      finished = true;
      giveUp.cancelled = true;
      if (retry !== null) retry.cancelled = true;
      return done(answer.output);
    }
    target = answer.leader ?? random.below(hosts);
    const asked = attempt;
    node.after(5_000, 'redirected', () => {
      if (attempt === asked) ask();
    });
  });
  const giveUp = node.after(GIVE_UP_US, 'give-up', () => {
    finished = true;
  });
  ask();
}
