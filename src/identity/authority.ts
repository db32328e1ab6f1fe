/** Our own certificate authority: who holds its key decides which hosts are ours. */
import './reflect.ts';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { DwcpError } from '../util/errors.ts';
import { checkNodeId, nodeUri } from './node-id.ts';

x509.cryptoProvider.set(webcrypto as never);

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 3650;
const NODE_DAYS = 825;

export interface Authority {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}

export interface NodeIdentity {
  readonly nodeId: string;
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  /** The only authority whose certificates this node accepts. */
  readonly authorityPem: string;
}

export async function createAuthority(): Promise<Authority> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...lifetime(AUTHORITY_DAYS),
    name: 'CN=dwcp authority',
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    certificatePem: `${certificate.toString('pem')}\n`,
    privateKeyPem: await keyToPem(keys),
  };
}

/** A certificate for both ends of a control channel; the node id is the identity. */
export async function issueNode(authority: Authority, nodeId: string): Promise<NodeIdentity> {
  checkNodeId(nodeId);
  const issuer = new x509.X509Certificate(authority.certificatePem);
  const signingKey = await importKey(authority.privateKeyPem);
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    ...lifetime(NODE_DAYS),
    subject: [{ CN: [nodeId] }],
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: nodeUri(nodeId) }]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return {
    nodeId,
    certificatePem: `${certificate.toString('pem')}\n`,
    privateKeyPem: await keyToPem(keys),
    authorityPem: authority.certificatePem,
  };
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

/** Valid from yesterday, so that a host whose clock runs behind accepts it. */
function lifetime(days: number): { notBefore: Date; notAfter: Date } {
  const nowMs = Date.now();
  return { notBefore: new Date(nowMs - DAY_MS), notAfter: new Date(nowMs + days * DAY_MS) };
}

async function keyToPem(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const bytes = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return `${x509.PemConverter.encode(bytes, 'PRIVATE KEY')}\n`;
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  try {
    const bytes = x509.PemConverter.decodeFirst(pem);
    return await webcrypto.subtle.importKey('pkcs8', bytes, ALGORITHM, false, ['sign']);
  } catch (cause) {
    throw new DwcpError('ERR_DWCP_IDENTITY', "the authority's private key cannot be read", {
      hint: 'It must be an unencrypted EC P-256 key in PKCS#8 PEM, as "dwcp keys init" writes it.',
      cause,
    });
  }
}
