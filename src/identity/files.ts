/** Keys and certificates as PEM files. A private key is readable by its owner alone. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DwcpError } from '../util/errors.ts';
import type { Authority, NodeIdentity } from './authority.ts';
import { nodeIdOf } from './node-id.ts';

export interface IdentityFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
  /** Node ids and certificate serial numbers that are refused, one per line. */
  readonly revokedFile?: string | undefined;
}

/** Refuses to replace an authority: every certificate it issued would become worthless. */
export function saveAuthority(directory: string, authority: Authority): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  write(join(directory, 'ca.key.pem'), authority.privateKeyPem, 'wx');
  write(join(directory, 'ca.pem'), authority.certificatePem, 'wx');
}

export function loadAuthority(directory: string): Authority {
  return {
    certificatePem: read(join(directory, 'ca.pem')),
    privateKeyPem: readKey(join(directory, 'ca.key.pem')),
  };
}

export function identityFiles(directory: string, nodeId: string): IdentityFiles {
  return {
    certFile: join(directory, `${nodeId}.pem`),
    keyFile: join(directory, `${nodeId}.key.pem`),
    caFile: join(directory, 'ca.pem'),
  };
}

/** Writes into the directory that the node will read; the authority's certificate goes with it. */
export function saveNode(directory: string, identity: NodeIdentity): IdentityFiles {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const files = identityFiles(directory, identity.nodeId);
  write(files.keyFile, identity.privateKeyPem, 'w');
  write(files.certFile, identity.certificatePem, 'w');
  write(files.caFile, identity.authorityPem, 'w');
  return files;
}

/** Everything that would make a later handshake fail is found here, with the file's name. */
export function loadNode(files: IdentityFiles): NodeIdentity {
  const certificatePem = read(files.certFile);
  const privateKeyPem = readKey(files.keyFile);
  const authorityPem = read(files.caFile);
  const certificate = parse(files.certFile, () => new X509Certificate(certificatePem));
  const authority = parse(files.caFile, () => new X509Certificate(authorityPem));
  const key: KeyObject = parse(files.keyFile, () => createPrivateKey(privateKeyPem));
  if (!certificate.checkPrivateKey(key)) {
    throw refused(`${files.keyFile} is not the key of ${files.certFile}`);
  }
  if (!certificate.verify(authority.publicKey)) {
    throw refused(`${files.certFile} was not signed by ${files.caFile}`);
  }
  if (Date.parse(certificate.validTo) < Date.now()) {
    throw refused(`${files.certFile} expired on ${certificate.validTo}`);
  }
  return { nodeId: nodeIdOf(certificate), certificatePem, privateKeyPem, authorityPem };
}

function write(path: string, text: string, flag: 'w' | 'wx'): void {
  try {
    writeFileSync(path, text, { mode: 0o600, flag });
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === 'EEXIST';
    throw new DwcpError(
      'ERR_DWCP_IDENTITY',
      exists ? `${path} exists already and is not replaced` : `cannot write ${path}`,
      { hint: 'Choose another directory, or move the old file away.', cause },
    );
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code ?? 'error';
    throw new DwcpError('ERR_DWCP_IDENTITY', `cannot read ${path}: ${errno}`, {
      hint:
        errno === 'EACCES'
          ? `Make the user that runs the agent its owner: chown USER ${path}`
          : 'Create keys with "dwcp keys init" and "dwcp keys issue NODE".',
      errno,
      cause,
    });
  }
}

function readKey(path: string): string {
  const text = read(path);
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new DwcpError('ERR_DWCP_IDENTITY', `others may read the private key ${path}`, {
      hint: `Run: chmod 600 ${path}`,
    });
  }
  return text;
}

function parse<T>(path: string, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    throw refused(`${path} is not a PEM file of the right kind`, cause);
  }
}

function refused(message: string, cause?: unknown): DwcpError {
  return new DwcpError('ERR_DWCP_IDENTITY', message, {
    hint: 'Issue the node a fresh certificate with "dwcp keys issue NODE".',
    ...(cause === undefined ? {} : { cause }),
  });
}
