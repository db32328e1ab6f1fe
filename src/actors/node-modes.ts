/** What operators said of the modes of links, durable per peer, and what the links say of theirs. */
import type { LinkMode } from '../node.ts';
import { LINK_MODES } from '../ports/link-mode.ts';
import type { StoredRecord } from '../ports/storage.ts';
import { DwcpError } from '../util/errors.ts';
import type { LinkModeStatus } from './messages.ts';
import type { LinkTable } from './node-links.ts';
import type { ModeNews, NodeCommand, NodeContext } from './node-messages.ts';
import { type NodeActorOptions, reportFault } from './node-options.ts';

type Policy = LinkMode | 'auto';

const PREFIX = 'mode/';

export class ModeTable {
  readonly #options: NodeActorOptions;
  readonly #links: LinkTable;
  readonly #policies = new Map<string, Policy>();

  constructor(options: NodeActorOptions, links: LinkTable, context: NodeContext) {
    this.#options = options;
    this.#links = links;
    const read = context.completion<readonly StoredRecord[]>((outcome) => {
      return { type: 'modesRead', outcome };
    });
    context.effect(() => options.storage.list(PREFIX, read));
  }

  receive(message: ModeNews | (NodeCommand & { type: 'setLinkMode' }), context: NodeContext): void {
    switch (message.type) {
      case 'setLinkMode': {
        const { peer, policy, done } = message;
        const stored = context.completion<void>((outcome) => {
          return { type: 'modeStored', peer, policy, outcome, done };
        });
        const value = new TextEncoder().encode(JSON.stringify({ policy }));
        return context.effect(() => this.#options.storage.put(`${PREFIX}${peer}`, value, stored));
      }
      case 'modeStored':
        if (message.outcome.ok) this.#say(message.peer, message.policy);
        return context.effect(() => message.done(message.outcome));
      case 'modesRead':
        if (!message.outcome.ok) return reportFault(this.#options, message.outcome.error);
        for (const { key, value } of message.outcome.value) this.#remember(key, value);
        return;
    }
  }

  /** The link is up: it may never have heard. */
  apply(peer: string): void {
    const policy = this.#policies.get(peer);
    if (policy !== undefined) this.#links.setMode(peer, policy);
  }

  report(peer: string, status: LinkModeStatus): void {
    const { view } = this.#options;
    const before = view.modes.get(peer);
    view.modes.set(peer, status);
    const { change } = status;
    if (change === null || change === before?.change) return;
    view.events$.next({ type: 'linkMode', peer, change });
  }

  #say(peer: string, policy: Policy): void {
    this.#policies.set(peer, policy);
    this.apply(peer);
  }

  /** Another program's record is told, and pins nothing. */
  #remember(key: string, value: Uint8Array): void {
    const peer = key.slice(PREFIX.length);
    const policy = policyIn(value);
    if (policy !== null && !this.#policies.has(peer)) return this.#say(peer, policy);
    if (policy !== null) return;
    const message = `the record ${key} is no mode of a link`;
    reportFault(this.#options, new DwcpError('ERR_DWCP_STORAGE', message));
  }
}

function policyIn(value: Uint8Array): Policy | null {
  try {
    const { policy } = JSON.parse(new TextDecoder().decode(value)) as { readonly policy: unknown };
    if (policy === 'auto') return policy;
    return LINK_MODES.find((mode) => mode === policy) ?? null;
  } catch {
    return null;
  }
}
