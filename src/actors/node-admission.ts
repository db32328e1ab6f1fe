/** Whether a migration may begin here at all; every refusal says what to do. */
import { DwcpError } from '../util/errors.ts';
import type { GuestTable } from './node-guests.ts';
import type { LinkTable } from './node-links.ts';
import type { NodeActorOptions } from './node-options.ts';
import type { SessionTable } from './node-sessions.ts';

export class Admission {
  readonly #options: NodeActorOptions;
  readonly #guests: GuestTable;
  readonly #links: LinkTable;
  readonly #sessions: SessionTable;

  constructor(
    options: NodeActorOptions,
    guests: GuestTable,
    links: LinkTable,
    sessions: SessionTable,
  ) {
    this.#options = options;
    this.#guests = guests;
    this.#links = links;
    this.#sessions = sessions;
  }

  /** Null when this host may be the source. */
  refusalToSend(guestName: string, to: string): DwcpError | null {
    const managed = this.#guests.get(guestName);
    if (managed === undefined) return unknownGuest(guestName);
    if (managed.migrationId !== null) {
      const what = `"${guestName}" is in migration ${managed.migrationId}`;
      return new DwcpError('ERR_DWCP_GUEST_STATE', what);
    }
    if (this.#links.get(to) === null) {
      const { leader, problem } = this.#options.ownership.group();
      if (leader === null && problem !== null) return noMajority(guestName, problem);
      return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `"${to}" is not connected`, {
        hint: `Check that the agent on ${to} runs and that the configuration of this node names it.`,
      });
    }
    return this.#limitReached();
  }

  /** Null when this host may be the destination. */
  refusalToReceive(guestName: string): DwcpError | null {
    const full = this.#limitReached();
    if (full !== null) return full;
    if (this.#guests.get(guestName) === undefined) return null;
    const what = `"${this.#options.id}" already has a guest "${guestName}"`;
    return new DwcpError('ERR_DWCP_GUEST_STATE', what);
  }

  #limitReached(): DwcpError | null {
    const { id, maxConcurrentMigrations } = this.#options;
    const { size } = this.#sessions;
    if (size < maxConcurrentMigrations) return null;
    return new DwcpError(
      'ERR_DWCP_LIMIT',
      `"${id}" is already in ${size} migrations of at most ${maxConcurrentMigrations}`,
      { hint: 'Wait for one to end, or raise maxConcurrentMigrations.' },
    );
  }
}

/** More than one host is missing: to bring back the destination alone would not help. */
function noMajority(guestName: string, problem: string): DwcpError {
  const what = `"${guestName}" stays here: ${problem}`;
  return new DwcpError('ERR_DWCP_NO_QUORUM', what, {
    hint: 'Bring back enough of the hosts in group.voters for a majority. It goes on running meanwhile.',
  });
}

export function unknownGuest(name: string): DwcpError {
  return new DwcpError('ERR_DWCP_GUEST_UNKNOWN', `no guest "${name}" on this host`, {
    hint: 'See what runs here with: dwcp vm list',
  });
}
