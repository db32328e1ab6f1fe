/** One control channel to a peer and what hangs on it; a new channel is a new session. */
import { dwcp } from '#wire';
import type { BulkLink, ControlChannel } from '../ports/transport.ts';
import type { LinkAgreement, LinkHandshake } from '../protocols/link/handshake.ts';
import type { DwcpError } from '../util/errors.ts';
import type { LinkContext } from './link-messages.ts';
import type { LinkStreams } from './link-streams.ts';

/** What the two sides agreed on, and the data plane that follows from it. */
export interface Established {
  readonly agreement: LinkAgreement;
  readonly bulk: BulkLink;
  readonly streams: LinkStreams;
}

export class LinkSession {
  readonly number: number;
  readonly channel: ControlChannel;
  readonly handshake: LinkHandshake;
  established: Established | null = null;
  /** At least one bulk stream carried our join: the node knows of the link. */
  isUp = false;
  /** Why the last bulk stream that was tried does not stand. */
  trouble: DwcpError | null = null;
  /** Envelopes that came before our own side was up. */
  early: dwcp.IEnvelope[] = [];
  heardUs: number;
  rttUs: number | null = null;
  #freshUs: number | null = null;
  #pingedUs = 0;

  constructor(
    number: number,
    parts: { readonly channel: ControlChannel; readonly handshake: LinkHandshake },
    nowUs: number,
  ) {
    this.number = number;
    this.channel = parts.channel;
    this.handshake = parts.handshake;
    this.heardUs = nowUs;
  }

  /** False when the peer does not read: the link is then lost. */
  send(envelope: dwcp.IEnvelope): boolean {
    return this.channel.send(dwcp.Envelope.encode(envelope).finish()) !== 'full';
  }

  ping(nowUs: number): boolean {
    this.#pingedUs = nowUs;
    return this.send({ from: 'link', to: 'link', linkPing: { token: nowUs } });
  }

  ponged(nowUs: number): void {
    this.rttUs = nowUs - this.#pingedUs;
    this.#freshUs = this.rttUs;
  }

  /** The round trip of a ping that was answered since it was last asked for. */
  takePingUs(): number | null {
    const fresh = this.#freshUs;
    this.#freshUs = null;
    return fresh;
  }

  /** Null for a frame that is no envelope. */
  decode(frame: Uint8Array): dwcp.IEnvelope | null {
    try {
      return dwcp.Envelope.decode(frame);
    } catch {
      return null;
    }
  }

  /** The bulk link stays: a session after this one may go on with what travels on it. */
  close(context: LinkContext | null): void {
    if (context !== null) this.established?.streams.stop(context);
    this.channel.close();
    // No stream joins a session that is over, and no key is derived from it any more.
    this.channel.secret.fill(0);
  }
}
