/**
 * How a guest becomes this host's: the log says so before its process starts, and forgets it again
 * when that fails. Without a majority nothing starts.
 */
import type { Guest } from '../ports/hypervisor.ts';
import type { Ownership } from '../ports/ownership.ts';
import type { OwnershipAnswer } from '../protocols/ownership/types.ts';
import { type Completion, DwcpError, failed, type Outcome, succeeded } from '../util/errors.ts';
import type { NodeMessage } from './node-messages.ts';
import type { NodeView } from './node-view.ts';
import type { ActorRef } from './system.ts';

/** Elections take a fraction of a second, links that come up a few. */
const REGISTER_PATIENCE_MS = 10_000;

export interface AdoptionParts {
  readonly host: string;
  readonly ownership: Ownership;
  readonly node: ActorRef<NodeMessage>;
  readonly view: NodeView;
  /** Names whose processes did not answer when this node started, and may run. */
  readonly silent: ReadonlyMap<string, number>;
}

export class Adoption {
  readonly #parts: AdoptionParts;
  /** Names that are on their way: a second one would undo what the first has registered. */
  readonly #names = new Set<string>();

  constructor(parts: AdoptionParts) {
    this.#parts = parts;
  }

  /** `open` finds or starts the guest; completes with its name once it is managed here. */
  adopt(name: string, open: (done: Completion<Guest>) => void, done: Completion<string>): void {
    const { host, ownership, view, silent } = this.#parts;
    const pid = silent.get(name);
    if (pid !== undefined) return done(failed(mayRun(name, pid)));
    if (this.#names.has(name) || view.guests.has(name)) {
      return done(failed(guestState(`"${name}" is already managed here`)));
    }
    this.#names.add(name);
    const end: Completion<string> = (outcome) => {
      this.#names.delete(name);
      done(outcome);
    };
    ownership.propose({ type: 'register', vm: name, host }, REGISTER_PATIENCE_MS, (answered) => {
      const epoch = epochOf(name, host, answered);
      if (!epoch.ok) return end(epoch);
      open((opened) => {
        if (!opened.ok) return this.#unregister(name, epoch.value, opened.error, end);
        this.#manage(opened.value, epoch.value, end);
      });
    });
  }

  #manage(guest: Guest, epoch: number, done: Completion<string>): void {
    const { name } = guest.reference;
    const noted: Completion<string> = (outcome) => {
      if (outcome.ok) return done(outcome);
      this.#unregister(name, epoch, outcome.error, done);
    };
    if (this.#parts.node.tell({ type: 'adopt', guest, epoch, done: noted }) === 'accepted') return;
    guest.detach();
    noted(failed(new DwcpError('ERR_DWCP_CLOSED', 'the node does not take a guest now')));
  }

  /** Waits for ever in the background: a name that nobody runs must not stay taken. */
  #unregister(vm: string, epoch: number, error: DwcpError, done: Completion<string>): void {
    const { host, ownership } = this.#parts;
    ownership.propose({ type: 'unregister', vm, host, epoch }, null, () => {});
    done(failed(error));
  }
}

function epochOf(name: string, host: string, answered: Outcome<OwnershipAnswer>): Outcome<number> {
  if (!answered.ok) return answered;
  const { value } = answered;
  if (value.ok && value.vm !== null) {
    const { by, migration, epoch } = value.vm;
    // What came here by a migration is settled by its session, not by a namesake.
    const isFresh = by.type !== 'migrated' && migration === null;
    if (isFresh) return succeeded(epoch);
    return failed(guestState(`"${name}" came to this host by a migration`));
  }
  const owner = value.vm?.owner;
  if (owner !== undefined && owner !== host) {
    return failed(
      new DwcpError('ERR_DWCP_NOT_OWNER', `"${name}" is a VM of "${owner}"`, {
        hint: `Choose another name, or move it from "${owner}". If that host is gone for good: dwcp vm claim ${name} --host-is-fenced`,
      }),
    );
  }
  return failed(
    new DwcpError('ERR_DWCP_LIMIT', 'the group knows as many VMs as it can', {
      hint: 'End a guest that is not needed any more.',
    }),
  );
}

/** It is this host's in the log, which would let a second one of it start. */
function mayRun(name: string, pid: number): DwcpError {
  const what = `"${name}" may run here already: process ${pid} did not answer when this agent started`;
  return new DwcpError('ERR_DWCP_GUEST_STATE', what, {
    hint: `Restart the agent, which looks again. If it stays silent, end process ${pid} first.`,
  });
}

function guestState(message: string): DwcpError {
  return new DwcpError('ERR_DWCP_GUEST_STATE', message);
}
