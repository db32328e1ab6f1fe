/**
 * A register that a majority keeps (Attiya, Bar-Noy, Dolev, for many writers): clients ask a majority for
 * the newest tag, then store value and tag at a majority, for reads too. Replicas answer once it is synced.
 */
import type { ActorContext } from '../../src/actors/system.ts';
import { checkers } from '../checkers/checkers.ts';
import { models, type RegisterInput } from '../checkers/models.ts';
import type { ClientCall } from '../world/clients.ts';
import type { Address, SimHost } from '../world/host.ts';
import type { Scenario } from '../world/scenario.ts';

interface Stored {
  /** Tags are ordered by counter, then by the operation that made them. */
  readonly counter: number;
  readonly operation: number;
  readonly value: number | null;
}

type Ask =
  | { readonly type: 'query'; readonly id: number; readonly from: Address }
  | {
      readonly type: 'store';
      readonly id: number;
      readonly from: Address;
      readonly stored: Stored;
    };

interface Answer {
  readonly type: 'newest' | 'stored';
  readonly id: number;
  readonly replica: string;
  readonly stored: Stored;
}

type ReplicaMessage =
  | Ask
  | { readonly type: 'loaded'; readonly bytes: Uint8Array }
  | {
      readonly type: 'written';
      readonly ask: Ask;
      readonly stored: Stored;
      readonly durable: boolean;
    };

interface Replica {
  /** Null until the disk was read: a replica that forgot must not answer. */
  readonly stored: Stored | null;
  /** What is certainly on the disk: all that may be acknowledged. */
  readonly durable: Stored;
  readonly writes: number;
}

/** The planted bugs that the checker is proven by; the scenario itself has none. */
export interface RegisterRules {
  readonly syncBeforeReply: boolean;
  readonly readsWriteBack: boolean;
  readonly quorum: (hosts: number) => number;
}

export const correctRegister: RegisterRules = {
  syncBeforeReply: true,
  readsWriteBack: true,
  quorum: (hosts) => Math.floor(hosts / 2) + 1,
};

const NOTHING: Stored = { counter: 0, operation: 0, value: null };
const FILE = 'register';
/** One sector per slot: a crash leaves it whole, old or new. */
const SLOT_BYTES = 512;
const RESEND_US = 50_000;

export function registerScenario(rules: RegisterRules): Scenario<RegisterInput, unknown> {
  return {
    name: 'register',
    depth: 'simulator',
    describe: 'a majority keeps one register for many writers; small and fast',
    hosts: 3,
    boot: (host) => bootReplica(host, rules),
    clients: {
      next: (random, serial) =>
        random.below(2) === 0 ? { op: 'read' } : { op: 'write', value: serial },
      perform: (node, call, done) => perform(node, call, rules, done),
    },
    faults: [
      ...(['crash', 'pause', 'partition', 'clog', 'loss', 'clock'] as const),
      ...(['disk-stall', 'disk-full', 'disk-fsync-error'] as const),
    ],
    faultyHostsMax: 3,
    checkers: [checkers.linearizability(models.register)],
    probes: ['a replica came back with what it had stored', 'an operation timed out'],
  };
}

function bootReplica(host: SimHost, rules: RegisterRules): void {
  host.spawn<Replica, ReplicaMessage>({
    name: 'replica',
    mailboxLimit: 256,
    initialState: (context) => {
      const load = context.completion<Uint8Array>((outcome) => ({
        type: 'loaded',
        bytes: outcome.ok ? outcome.value : new Uint8Array(),
      }));
      context.effect(() => host.disk.readAt(FILE, 0, 2 * SLOT_BYTES, load));
      return { stored: null, durable: NOTHING, writes: 0 };
    },
    behavior: (state, message, context) => {
      if (message.type === 'loaded') {
        const stored = newestSlot(message.bytes);
        if (stored !== NOTHING) {
          host.world.sometimes('a replica came back with what it had stored');
        }
        return { ...state, stored, durable: stored };
      }
      if (message.type === 'written') {
        if (!message.durable) return state;
        answer(host, 'stored', message.ask, message.stored);
        return isNewer(message.stored, state.durable)
          ? { ...state, durable: message.stored }
          : state;
      }
      if (state.stored === null) return state;
      if (message.type === 'query') {
        answer(host, 'newest', message, state.stored);
        return state;
      }
      const isDurable = !isNewer(message.stored, state.durable);
      if (isDurable || !rules.syncBeforeReply) answer(host, 'stored', message, message.stored);
      if (isDurable) return state;
      // Asked again after a failed write, it is written again, and never anything older.
      const stored = isNewer(message.stored, state.stored) ? message.stored : state.stored;
      write(host, context, message, stored, state.writes);
      return { ...state, stored, writes: state.writes + 1 };
    },
  });
}

function write(
  host: SimHost,
  context: ActorContext<ReplicaMessage>,
  ask: Ask,
  stored: Stored,
  writes: number,
): void {
  const written = context.completion<void>((outcome) => ({
    ...{ type: 'written', ask, stored, durable: outcome.ok },
  }));
  const slot = new Uint8Array(SLOT_BYTES);
  slot.set(new TextEncoder().encode(JSON.stringify(stored)));
  context.effect(() => {
    host.disk.writeAt(FILE, (writes % 2) * SLOT_BYTES, slot, (outcome) => {
      if (!outcome.ok) return written(outcome);
      host.disk.fdatasync(FILE, (file) => (file.ok ? host.disk.syncDir(written) : written(file)));
    });
  });
}

function answer(host: SimHost, type: Answer['type'], { id, from }: Ask, stored: Stored): void {
  host.send(from, { type, id, replica: host.name, stored } satisfies Answer);
}

function perform(
  node: SimHost,
  { id, input }: ClientCall<RegisterInput>,
  rules: RegisterRules,
  done: (output: unknown) => void,
): void {
  const replicas = node.world.hosts.map((host) => `${host.name}/replica`);
  const quorum = rules.quorum(replicas.length);
  const from = `${node.name}/${id}`;
  let newest = NOTHING;
  let ask: Ask = { type: 'query', id, from };
  const heard = new Set<string>();
  let finished = false;
  const send = (): void => {
    if (finished) return;
    for (const replica of replicas) node.send(replica, ask);
    node.after(RESEND_US, 'resend', send);
  };
  const finish = (): void => {
    finished = true;
    done(input.op === 'read' ? newest.value : 'ok');
  };
  node.on<Answer>(`${id}`, ({ type, replica, stored }) => {
    const awaited = ask.type === 'query' ? 'newest' : 'stored';
    if (finished || type !== awaited) return;
    heard.add(replica);
    if (isNewer(stored, newest)) newest = stored;
    if (heard.size < quorum) return;
    if (ask.type === 'store' || (input.op === 'read' && !rules.readsWriteBack)) return finish();
    if (input.op === 'write') {
      newest = { counter: newest.counter + 1, operation: id, value: input.value as number };
    }
    ask = { type: 'store', id, from, stored: newest };
    heard.clear();
    for (const address of replicas) node.send(address, ask);
  });
  // An operation that its client gave up goes on for a while: its outcome is unknown, not void.
  node.after(2_000_000, 'give-up', () => {
    finished = true;
  });
  send();
}

function isNewer(a: Stored, b: Stored): boolean {
  return a.counter > b.counter || (a.counter === b.counter && a.operation > b.operation);
}

/** A slot holds zeros until it is first written. */
function newestSlot(bytes: Uint8Array): Stored {
  let newest = NOTHING;
  for (let at = 0; at + SLOT_BYTES <= bytes.length; at += SLOT_BYTES) {
    const slot = bytes.subarray(at, at + SLOT_BYTES);
    const end = slot.indexOf(0);
    if (end <= 0) continue;
    const stored = JSON.parse(new TextDecoder().decode(slot.subarray(0, end))) as Stored;
    if (isNewer(stored, newest)) newest = stored;
  }
  return newest;
}
