/**
 * Between the links and the node: consensus goes straight to its replica, so that a node which is
 * busy with migrations never costs a heartbeat. Everything else goes on to the node.
 */
import type { dwcp } from '#wire';
import type { LinkCommand, LinkReport } from './messages.ts';
import type { ReplicaMessage } from './replica-messages.ts';
import type { ActorRef, TellResult } from './system.ts';

export class LinkSwitch implements ActorRef<LinkReport> {
  readonly path: string;
  readonly incarnation: number;
  readonly #node: ActorRef<LinkReport>;
  readonly #replica: ActorRef<ReplicaMessage>;
  readonly #links: PeerLinks;

  constructor(node: ActorRef<LinkReport>, replica: ActorRef<ReplicaMessage>, links: PeerLinks) {
    this.path = node.path;
    this.incarnation = node.incarnation;
    this.#node = node;
    this.#replica = replica;
    this.#links = links;
  }

  tell(report: LinkReport): TellResult {
    switch (report.type) {
      case 'envelope': {
        const { peer, envelope } = report;
        const isRaft = envelope.raftMessage ?? envelope.raftProposals ?? envelope.raftRejections;
        if (!isRaft) break;
        // One that finds it full is lost, as on a wire; they send again.
        this.#replica.tell({ type: 'envelope', peer, envelope });
        return 'accepted';
      }
      case 'linkUp':
        this.#links.set(report.peer, report.link);
        this.#replica.tell({ type: 'linkUp', peer: report.peer });
        break;
      case 'linkDown':
        this.#links.delete(report.peer);
        this.#replica.tell({ type: 'linkDown', peer: report.peer });
        break;
      case 'linkTrouble':
        break;
    }
    return this.#node.tell(report);
  }
}

/** The links that are up. */
export class PeerLinks {
  readonly #links = new Map<string, ActorRef<LinkCommand>>();

  set(peer: string, link: ActorRef<LinkCommand>): void {
    this.#links.set(peer, link);
  }

  delete(peer: string): void {
    this.#links.delete(peer);
  }

  /** Lost while there is no link. */
  send(peer: string, envelope: dwcp.IEnvelope): void {
    this.#links.get(peer)?.tell({ type: 'send', envelope });
  }
}
