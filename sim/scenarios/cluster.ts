/** Depth `cluster`: replica and owner actors on the shipped log format, and clients who change owners. */
import type { OwnershipAnswer, VmOwnership } from '../../src/protocols/ownership/types.ts';
import type { Outcome } from '../../src/util/errors.ts';
import { type GroupOptions, type Member, SimGroup } from '../agents/group.ts';
import { checkers } from '../checkers/checkers.ts';
import {
  type OwnershipInput,
  type OwnershipOutput,
  ownershipModel,
  type VmCommand,
} from '../checkers/ownership-model.ts';
import type { ClientCall } from '../world/clients.ts';
import type { LabelledStream } from '../world/decisions.ts';
import type { Fault, FaultKind } from '../world/fault-plan.ts';
import type { SimHost } from '../world/host.ts';
import type { Run, Scenario } from '../world/scenario.ts';
import type { Checker } from '../world/violation.ts';
import type { World } from '../world/world.ts';

const VMS = 4;
const PATIENCE_MS = 600;
const ANSWERS_AFTER_HEALING = 5;
const HOSTS = [3, 3, 3, 4, 5];
const MODELS: readonly (readonly FaultKind[])[] = [
  ['partition', 'clog', 'loss'],
  ['crash', 'pause'],
  ['clock'],
  ['disk-stall', 'disk-full', 'disk-fsync-error'],
  ['disk-bit-rot', 'disk-misdirect'],
];

const DEFAULT_OPTIONS: Partial<GroupOptions> = {
  // Small, so that a minute meets every bound: windows, compaction, snapshots in chunks.
  limits: {
    ...{ messageBytes: 2_048, inflightMessages: 8, inflightBytes: 8_192, waitingReads: 64 },
    ...{ snapshotChunkBytes: 256, snapshotEveryEntries: 64, keptTailEntries: 16 },
  },
};

/** What to ask is chosen when it is asked, from what the asked host knows. */
interface Asked {
  readonly draw: number;
  readonly serial: number;
  readonly other: number;
  input: OwnershipInput;
}

interface Question {
  readonly from: string;
  readonly input: OwnershipInput;
}

class ClusterRun {
  readonly group: SimGroup;
  readonly #world: World;
  /** Questions that reached their host, so that the network's second copy is not asked again. */
  readonly #heard = new Set<string>();
  #answeredBefore: number | null = null;
  #executedBefore: number | null = null;

  constructor(world: World, options: Partial<GroupOptions>) {
    this.#world = world;
    this.group = new SimGroup(world, { ...DEFAULT_OPTIONS, ...options }, (host, member) =>
      this.#serve(host, member),
    );
    world.faultHandlers.set('disk-bit-rot', (fault) => this.#damage(fault));
    world.faultHandlers.set('disk-misdirect', (fault) => this.#damage(fault));
  }

  #serve(host: SimHost, member: Member): void {
    host.on<Question>('owner', ({ from, input }) => {
      // Whoever embeds the runtime calls it once: a command that is repeated unasked has two effects, and
      // no order of single operations explains its answer.
      if (this.#heard.has(from)) return;
      this.#heard.add(from);
      if (input.op === 'read') return this.#read(host, member, input.vm, from);
      member.ownership.propose(input.command, PATIENCE_MS, (outcome) => {
        if (outcome.ok) host.send(from, outputOf(outcome.value));
      });
    });
  }

  #read(host: SimHost, member: Member, vm: string, from: string): void {
    member.replica.tell({
      ...{ type: 'read', guarantee: { kind: 'linearizable' }, patienceMs: PATIENCE_MS },
      done: (outcome: Outcome<unknown>) => {
        if (outcome.ok) host.send(from, stateOf(null, member.ownership.get(vm)));
      },
    });
  }

  /** One copy of everything stays whole: damage meets a minority, and always the same hosts. */
  #damage(fault: Fault): boolean {
    if (fault.kind !== 'disk-bit-rot' && fault.kind !== 'disk-misdirect') return false;
    const host = this.#world.hostAt(fault.host);
    const { damaged } = this.group;
    const most = Math.floor((this.#world.hosts.length - 1) / 2);
    if (!damaged.has(host) && damaged.size >= most) return false;
    if (fault.kind === 'disk-misdirect') host.disk.misdirected += 1;
    else if (!host.disk.rot()) return false;
    damaged.add(host);
    return true;
  }

  perform(node: SimHost, id: number, asked: Asked, done: (output: unknown) => void): void {
    const { hosts } = this.#world;
    const host = hosts[asked.other % hosts.length] as SimHost;
    const known = this.group.member(host)?.ownership ?? null;
    const vm = `vm-${asked.serial % VMS}`;
    asked.input = chosen(asked, vm, host.name, hosts, known?.get(vm) ?? null);
    node.on<OwnershipOutput>(`${id}`, done);
    const question: Question = { from: `${node.name}/${id}`, input: asked.input };
    node.send(`${host.name}/owner`, question);
  }

  /** Clients are answered again, and every member that can has what the group had executed by then. */
  progressed({ clients }: Run<Asked>): boolean {
    this.#answeredBefore ??= clients.answered;
    if (clients.answered < this.#answeredBefore + ANSWERS_AFTER_HEALING) return false;
    const { group } = this;
    // Clients go on asking: what is executed from here on may be on its way to a member for ever.
    this.#executedBefore ??= group.log.highestExecuted;
    const executed = this.#executedBefore;
    return this.#world.hosts.every((host) => {
      const member = group.member(host);
      // A host whose disk was damaged may have to stay away.
      if (member === null) return group.damaged.has(host);
      return member.appliedIndex >= executed || group.damaged.has(host);
    });
  }

  stuck({ clients }: Run<Asked>): string {
    const answers = clients.answered - (this.#answeredBefore ?? 0);
    const members = this.#world.hosts
      .map((host) => {
        const member = this.group.member(host);
        const status = member?.status;
        const where = `${status?.phase} ${status?.role} term ${status?.term} applied ${member?.appliedIndex}`;
        return `${host.name}: ${member === null ? 'down' : where}`;
      })
      .join('; ');
    return `${answers} answers, ${this.group.log.highestExecuted} executed, ${members}`;
  }

  /** Members that applied the same have the same state, byte by byte. */
  differentStates(): string | null {
    const states = new Map<number, string>();
    for (const { application, appliedIndex } of this.group.members) {
      const bytes = Buffer.from(application.encode()).toString('hex');
      const known = states.get(appliedIndex) ?? bytes;
      if (known !== bytes) return `two members differ after they applied ${appliedIndex}`;
      states.set(appliedIndex, bytes);
    }
    return null;
  }
}

export function clusterScenario(
  change: Partial<GroupOptions> & { readonly name?: string } = {},
): Scenario<Asked> {
  const { name = 'cluster', ...options } = change;
  const runs = new WeakMap<World, ClusterRun>();
  const runOf = (world: World): ClusterRun => {
    const known = runs.get(world);
    if (known !== undefined) return known;
    const run = new ClusterRun(world, options);
    runs.set(world, run);
    return run;
  };
  const rule = (label: string, look: (run: ClusterRun) => string | null): Checker<Run<Asked>> =>
    checkers.invariant(label, ({ world }) => look(runOf(world)));
  return {
    name,
    depth: 'log and actors',
    describe: 'the ownership log: replica and owner actors on the shipped log format, byte by byte',
    hosts: 3,
    boot: (host) => runOf(host.world).group.boot(host),
    clients: {
      next: (random: LabelledStream, serial: number): Asked => ({
        ...{ draw: random.below(100), serial, other: random.below(1_000) },
        input: { op: 'read', vm: '' },
      }),
      perform: (node: SimHost, { id, input }: ClientCall<Asked>, done) => {
        runOf(node.world).perform(node, id, input, done);
      },
    },
    // Enough for 1,000 operations although whoever asks a host that is out of service waits in vain.
    workload: { timeoutUs: 800_000, thinkMaxUs: 200_000 },
    vary: (random) => ({
      hosts: HOSTS[random.below(HOSTS.length)] as number,
      workload: { clients: random.between(8, 12), operations: random.between(1_000, 1_500) },
    }),
    faults: MODELS.flat(),
    models: MODELS,
    faultyHostsMax: 3,
    checkers: [
      rule('group-log', ({ group }) => group.log.look()?.message ?? null),
      rule('epochs', ({ group }) => group.epochs.look()?.message ?? null),
      { name: 'same-state', audit: ({ world }) => found(runOf(world).differentStates()) },
      linearizableOwnership(),
    ],
    progressed: (run) => runOf(run.world).progressed(run),
    unrecoverable: (run) => {
      run.world.violate('progress', `stuck: ${runOf(run.world).stuck(run)}`);
      return null;
    },
    probes: ['a leader was elected', 'a snapshot was restored', 'a replica halted'],
  };
}

function linearizableOwnership(): Checker<Run<Asked>> {
  const checker = checkers.linearizability(ownershipModel);
  return {
    name: checker.name,
    audit: ({ world, clients }) => {
      const history = clients.history.map((each) => ({ ...each, input: each.input.input }));
      return checker.audit?.({ world, clients: { history } } as never) ?? null;
    },
  };
}

function found(message: string | null): { readonly message: string } | null {
  return message === null ? null : { message };
}

function chosen(
  { draw, serial }: Asked,
  vm: string,
  self: string,
  hosts: readonly SimHost[],
  known: VmOwnership | null,
): OwnershipInput {
  if (draw < 20) return { op: 'read', vm };
  const other = (hosts[serial % hosts.length] as SimHost).name;
  const epoch = (known?.epoch ?? 1) + (draw % 17 === 0 ? 1 : 0);
  const migrationId = known?.migration?.migrationId ?? `m${serial}`;
  return { op: 'command', vm, command: command() };

  function command(): VmCommand {
    if (draw < 30 || known === null) return { type: 'register', vm, host: self };
    if (draw < 60) {
      return {
        ...{ type: 'prepare', vm, epoch, migrationId: `m${serial}`, from: known.owner, to: other },
      };
    }
    if (draw < 80) {
      return { type: 'commit', vm, epoch, migrationId, host: known.migration?.to ?? other };
    }
    if (draw < 94) return { type: 'abort', vm, epoch, migrationId, host: known.owner, reason: '' };
    return { type: 'claim', vm, epoch, host: other, operator: `operator-${serial}` };
  }
}

function outputOf(answer: OwnershipAnswer): OwnershipOutput {
  return stateOf(answer.ok ? null : answer.code, answer.vm);
}

function stateOf(refused: string | null, vm: VmOwnership | null): OwnershipOutput {
  return {
    ...{ refused, owner: vm?.owner ?? null, epoch: vm?.epoch ?? null },
    migrationId: vm?.migration?.migrationId ?? null,
  };
}
