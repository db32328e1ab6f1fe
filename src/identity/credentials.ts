/**
 * Who this node is and whom it does not take any more, as of now: read again when an operator put new files
 * in place. What is under way goes on with what it began with.
 */

import type { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { DwcpError } from '../util/errors.ts';
import type { NodeIdentity } from './authority.ts';
import { type IdentityFiles, loadNode } from './files.ts';
import { nodeIdOf } from './node-id.ts';

/** More than a cluster has certificates. */
const REVOKED_MAX = 100_000;

export class Credentials {
  readonly #files: IdentityFiles | null;
  #identity: NodeIdentity;
  #revoked: ReadonlySet<string>;
  readonly #listeners: (() => void)[] = [];

  private constructor(files: IdentityFiles | null, now: Loaded) {
    this.#files = files;
    this.#identity = now.identity;
    this.#revoked = now.revoked;
  }

  static load(files: IdentityFiles): Credentials {
    return new Credentials(files, read(files));
  }

  /** For who has no files, and so nothing to read again. */
  static of(identity: NodeIdentity): Credentials {
    return new Credentials(null, { identity, revoked: new Set() });
  }

  get identity(): NodeIdentity {
    return this.#identity;
  }

  /** By the node that it names, or by its own serial number. */
  isRevoked(certificate: X509Certificate): boolean {
    if (this.#revoked.size === 0) return false;
    if (this.#revoked.has(serialOf(certificate.serialNumber))) return true;
    return this.#revoked.has(nodeIdOf(certificate));
  }

  /** Throws, and nothing changes, when the new files are no good or are those of another node. */
  reload(): void {
    if (this.#files === null) return;
    const now = read(this.#files);
    const before = this.#identity.nodeId;
    if (now.identity.nodeId !== before) {
      const found = `${this.#files.certFile} is the certificate of "${now.identity.nodeId}" now`;
      throw new DwcpError('ERR_DWCP_IDENTITY', `${found}, not of "${before}"`, {
        hint: `Issue one with: dwcp keys issue ${before}`,
      });
    }
    this.#identity = now.identity;
    this.#revoked = now.revoked;
    for (const listener of this.#listeners) listener();
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }
}

interface Loaded {
  readonly identity: NodeIdentity;
  readonly revoked: ReadonlySet<string>;
}

function read(files: IdentityFiles): Loaded {
  const { revokedFile } = files;
  const identity = loadNode(files);
  return { identity, revoked: revokedFile === undefined ? new Set() : readRevoked(revokedFile) };
}

/** One node id or certificate serial number per line; what follows a `#` is for people. */
function readRevoked(path: string): ReadonlySet<string> {
  const names = linesOf(path).filter((name) => name !== '');
  if (names.length <= REVOKED_MAX) return new Set(names.flatMap((name) => [name, serialOf(name)]));
  throw new DwcpError('ERR_DWCP_LIMIT', `${path} has more than ${REVOKED_MAX} lines`);
}

function linesOf(path: string): string[] {
  try {
    const text = readFileSync(path, 'utf8');
    return text.split('\n').map((line) => line.replace(/#.*/, '').trim());
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code ?? 'error';
    throw new DwcpError('ERR_DWCP_IDENTITY', `cannot read ${path}: ${errno}`, {
      hint: 'It lists revoked node ids and serial numbers, one per line; it may be empty.',
      errno,
      cause,
    });
  }
}

/** As `openssl x509 -serial` prints it, or with colons and in lower case. */
function serialOf(text: string): string {
  return `serial ${text.replaceAll(':', '').toUpperCase().replace(/^0+/, '')}`;
}
