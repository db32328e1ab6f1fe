import type { dwcp } from '#wire';
import type { HostPort } from '../../ports/transport.ts';
import { DwcpError } from '../../util/errors.ts';
import { KEY_RANDOM_BYTES, type Sealing } from './link-keys.ts';
import { agreedKeyBits } from './sealing.ts';

/** Versions spoken by this build. */
const VERSION_MIN = 1;
const VERSION_MAX = 1;

export interface HandshakeOptions {
  readonly nodeId: string;
  /** From the peer's certificate; its hello must say the same. */
  readonly peer: string;
  /** Of this process. */
  readonly incarnation: Uint8Array;
  /** Of the peer's process on the last link, or null when there was none. */
  readonly lastPeerIncarnation: Uint8Array | null;
  /** Features that this build knows, by name. */
  readonly features: readonly string[];
  readonly requiredFeatures: readonly string[];
  readonly bulkListen: HostPort;
  /** 32 fresh bytes, for this handshake alone. */
  readonly keyRandom: Uint8Array;
}

export type HandshakeInput =
  | { readonly type: 'start' }
  | { readonly type: 'hello'; readonly hello: dwcp.ILinkHello }
  | { readonly type: 'refused'; readonly refusal: dwcp.ILinkRefused };

export type HandshakeEffect =
  | { readonly type: 'send'; readonly envelope: dwcp.IEnvelope }
  | { readonly type: 'established'; readonly agreement: LinkAgreement }
  /** The channel is to be closed once everything was sent. */
  | { readonly type: 'refused'; readonly error: DwcpError };

export interface LinkAgreement {
  readonly version: number;
  /** Optional features that both sides know. */
  readonly features: readonly string[];
  readonly peerIncarnation: Uint8Array;
  readonly peerRestarted: boolean;
  /** Where the peer accepts bulk streams. */
  readonly peerBulk: HostPort;
  /** Null when neither side wants its frames sealed. */
  readonly sealing: Sealing | null;
}

/** One control channel's handshake: each side says hello first, and judges the other's alone. */
export class LinkHandshake {
  readonly #options: HandshakeOptions;
  #settled = false;

  constructor(options: HandshakeOptions) {
    this.#options = options;
  }

  step(input: HandshakeInput): readonly HandshakeEffect[] {
    switch (input.type) {
      case 'start':
        return [{ type: 'send', envelope: { from: 'link', to: 'link', linkHello: this.#hello() } }];
      case 'refused':
        this.#settled = true;
        return [{ type: 'refused', error: refusalError(this.#options.peer, input.refusal) }];
      case 'hello':
        return this.#judge(input.hello);
    }
  }

  #hello(): dwcp.ILinkHello {
    const { nodeId, incarnation, features, requiredFeatures, bulkListen, keyRandom } =
      this.#options;
    return {
      versionMax: VERSION_MAX,
      versionMin: VERSION_MIN,
      node: nodeId,
      incarnation,
      requiredFeatures: [...requiredFeatures],
      optionalFeatures: features.filter((feature) => !requiredFeatures.includes(feature)),
      bulkHost: bulkListen.host,
      bulkPort: bulkListen.port,
      keyRandom,
    };
  }

  #judge(hello: dwcp.ILinkHello): readonly HandshakeEffect[] {
    const error = this.#settled ? secondHello(this.#options.peer) : this.#objection(hello);
    this.#settled = true;
    if (error !== null) {
      const linkRefused = { code: error.code, message: error.message };
      return [
        { type: 'send', envelope: { from: 'link', to: 'link', linkRefused } },
        { type: 'refused', error },
      ];
    }
    const peerIncarnation = Uint8Array.from(hello.incarnation ?? []);
    const last = this.#options.lastPeerIncarnation;
    const known = new Set(this.#options.features);
    const offered = [...(hello.requiredFeatures ?? []), ...(hello.optionalFeatures ?? [])];
    return [
      {
        type: 'established',
        agreement: {
          version: Math.min(VERSION_MAX, hello.versionMax ?? 0),
          features: offered.filter((feature) => known.has(feature)),
          peerIncarnation,
          peerRestarted: last !== null && !equalBytes(last, peerIncarnation),
          peerBulk: { host: hello.bulkHost ?? '', port: hello.bulkPort ?? 0 },
          sealing: this.#sealing(hello),
        },
      },
    ];
  }

  #sealing(hello: dwcp.ILinkHello): Sealing | null {
    const { requiredFeatures, keyRandom } = this.#options;
    const keyBits = agreedKeyBits(requiredFeatures, hello.requiredFeatures ?? []);
    if (keyBits === null) return null;
    return { keyBits, ownRandom: keyRandom, peerRandom: Uint8Array.from(hello.keyRandom ?? []) };
  }

  #objection(hello: dwcp.ILinkHello): DwcpError | null {
    const { peer, features, requiredFeatures } = this.#options;
    const [min, max] = [hello.versionMin ?? 0, hello.versionMax ?? 0];
    if (min > VERSION_MAX || max < VERSION_MIN) {
      return new DwcpError(
        'ERR_DWCP_VERSION',
        `${peer} speaks versions ${min} to ${max}, this node ${VERSION_MIN} to ${VERSION_MAX}`,
        { hint: 'Upgrade the older of the two nodes.' },
      );
    }
    if (hello.node !== peer) {
      return new DwcpError(
        'ERR_DWCP_IDENTITY',
        `the certificate says ${peer}, the hello says ${hello.node}`,
      );
    }
    const unknown = (hello.requiredFeatures ?? []).find((feature) => !features.includes(feature));
    if (unknown !== undefined) {
      return new DwcpError('ERR_DWCP_FEATURE', `${peer} requires the feature "${unknown}"`, {
        hint: 'Upgrade this node, or turn the feature off at the peer.',
      });
    }
    const offered = [...(hello.requiredFeatures ?? []), ...(hello.optionalFeatures ?? [])];
    const missing = requiredFeatures.find((feature) => !offered.includes(feature));
    if (missing !== undefined) {
      return new DwcpError('ERR_DWCP_FEATURE', `${peer} lacks the feature "${missing}"`, {
        hint: 'Upgrade the peer, or turn the feature off here.',
      });
    }
    if ((hello.incarnation ?? []).length !== 16) {
      return new DwcpError('ERR_DWCP_PROTOCOL', `the hello of ${peer} has no 16-byte incarnation`);
    }
    const random = this.#sealing(hello)?.peerRandom;
    if (random !== undefined && random.length !== KEY_RANDOM_BYTES) {
      const wanted = `${KEY_RANDOM_BYTES} fresh bytes`;
      return new DwcpError(
        'ERR_DWCP_PROTOCOL',
        `the hello of ${peer} has no ${wanted} for its keys`,
      );
    }
    return null;
  }
}

function secondHello(peer: string): DwcpError {
  return new DwcpError('ERR_DWCP_PROTOCOL', `${peer} said hello twice on one channel`);
}

/** Codes of ours keep their meaning; a code from a newer peer becomes a protocol error. */
function refusalError(peer: string, refusal: dwcp.ILinkRefused): DwcpError {
  const known = ['ERR_DWCP_VERSION', 'ERR_DWCP_FEATURE', 'ERR_DWCP_IDENTITY'] as const;
  const code = known.find((name) => name === refusal.code) ?? 'ERR_DWCP_PROTOCOL';
  return new DwcpError(code, `refused by ${peer}: ${refusal.message ?? 'no reason given'}`);
}

/** Takes as long for a wrong byte at the start as for one at the end. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let index = 0; index < a.length; index += 1) {
    difference |= (a[index] ?? 0) ^ (b[index] ?? 0);
  }
  return difference === 0;
}
