import type { Entry } from '../../src/protocols/raft/types.ts';
import type { KvInput } from '../checkers/models.ts';

/** One command of the log. Ids of a session only grow, so the last one tells what was done already. */
export interface KvCommand {
  readonly session: string;
  readonly id: number;
  readonly input: KvInput;
}

export interface Done {
  readonly command: NamedCommand;
  readonly output: unknown;
  /** Not answered from the session's memory. */
  readonly isFirst: boolean;
}

interface Session {
  readonly id: number;
  readonly output: unknown;
}

/** The state machine of depth `raft`: a key-value store that does every command of a session once. */
export class KvMachine {
  index = 0;
  #values = new Map<string, unknown>();
  #sessions = new Map<string, Session>();

  /** What the client is told; undefined when a later command of its session was done before. */
  apply(entry: Entry): Done | null {
    this.index = entry.index;
    if (entry.kind !== 'command') return null;
    const command = commandOf(entry.data);
    const session = this.#sessions.get(command.session);
    if (session !== undefined && session.id >= command.id) {
      const output = session.id === command.id ? session.output : undefined;
      return { command, output, isFirst: false };
    }
    const output = this.#do(command.input);
    this.#sessions.set(command.session, { id: command.id, output });
    return { command, output, isFirst: true };
  }

  get(key: string): unknown {
    return this.#values.get(key) ?? null;
  }

  /** Sorted, so that the same state is the same bytes on every replica. */
  encode(): Uint8Array {
    const state = {
      index: this.index,
      values: sorted(this.#values),
      sessions: sorted(this.#sessions),
    };
    return Buffer.from(JSON.stringify(state));
  }

  static decode(data: Uint8Array): KvMachine {
    const machine = new KvMachine();
    const state = JSON.parse(new TextDecoder().decode(data)) as {
      readonly index: number;
      readonly values: [string, unknown][];
      readonly sessions: [string, Session][];
    };
    machine.index = state.index;
    machine.#values = new Map(state.values);
    machine.#sessions = new Map(state.sessions);
    return machine;
  }

  #do(input: KvInput): unknown {
    if (input.op === 'put') this.#values.set(input.key, input.value);
    if (input.op === 'delete') this.#values.delete(input.key);
    return input.op === 'get' ? this.get(input.key) : 'ok';
  }
}

function sorted<T>(map: ReadonlyMap<string, T>): [string, T][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}

interface NamedCommand extends KvCommand {
  /** Session and id. */
  readonly name: string;
}

/** Replicas share the bytes of a command, so that nobody has to read what is known. */
type CommandBytes = Uint8Array & { command?: NamedCommand };

export function encodeCommand(command: KvCommand): Uint8Array {
  const data: CommandBytes = Buffer.from(JSON.stringify(command));
  data.command = named(command);
  return data;
}

function commandOf(data: CommandBytes): NamedCommand {
  data.command ??= named(JSON.parse(new TextDecoder().decode(data)) as KvCommand);
  return data.command;
}

function named({ session, id, input }: KvCommand): NamedCommand {
  return { session, id, input, name: `${session}/${id}` };
}
