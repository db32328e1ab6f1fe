/** The links that are up, by peer. */
import type { dwcp } from '#wire';
import type { LinkMode } from '../node.ts';
import type { DwcpError } from '../util/errors.ts';
import type { LinkReport } from './messages.ts';
import type { SessionLink } from './migration-shell.ts';
import type { NodeView } from './node-view.ts';

export class LinkTable {
  readonly #view: NodeView;
  readonly #links = new Map<string, SessionLink>();

  constructor(view: NodeView) {
    this.#view = view;
  }

  get(peer: string): SessionLink | null {
    return this.#links.get(peer) ?? null;
  }

  up(report: LinkReport & { type: 'linkUp' }): SessionLink {
    const { peer, bulk, link, peerRestarted } = report;
    const entry: SessionLink = { link, bulk };
    this.#links.set(peer, entry);
    this.#view.links.set(peer, bulk);
    this.#view.problems.delete(peer);
    this.#view.events$.next({ type: 'peerUp', peer, detail: peerRestarted ? 'restarted' : '' });
    return entry;
  }

  down(peer: string, error: DwcpError): void {
    this.#links.delete(peer);
    this.#view.links.delete(peer);
    this.#view.problems.set(peer, error);
    this.#view.events$.next({ type: 'peerDown', peer, detail: error.message });
  }

  /** The peer answers, but no memory can travel; null when it can again. */
  trouble(peer: string, error: DwcpError | null): void {
    if (error === null) this.#view.problems.delete(peer);
    else this.#view.problems.set(peer, error);
  }

  /** Lost while the peer is not connected. */
  send(peer: string, envelope: dwcp.IEnvelope): void {
    this.#links.get(peer)?.link.tell({ type: 'send', envelope });
  }

  willSend(peer: string, bytes: number): void {
    this.#links.get(peer)?.link.tell({ type: 'willSend', bytes });
  }

  setMode(peer: string, policy: LinkMode | 'auto'): void {
    this.#links.get(peer)?.link.tell({ type: 'setMode', policy });
  }

  setMaxBandwidth(peer: string, bytesPerSec: number): void {
    this.#links.get(peer)?.link.tell({ type: 'setMaxBandwidth', bytesPerSec });
  }
}
