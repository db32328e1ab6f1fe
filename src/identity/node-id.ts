import type { X509Certificate } from 'node:crypto';
import { DwcpError } from '../util/errors.ts';

const NODE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const URI_PREFIX = 'dwcp:node:';

/** A node's name is part of paths, certificates and file names. */
export function checkNodeId(nodeId: string): void {
  if (NODE_ID.test(nodeId)) return;
  throw new DwcpError('ERR_DWCP_IDENTITY', `not a node id: "${nodeId}"`, {
    hint: 'Use 1 to 63 letters, digits, dots, dashes or underscores, such as host-a.',
  });
}

export function nodeUri(nodeId: string): string {
  return `${URI_PREFIX}${nodeId}`;
}

/** The one node that the certificate names; the subject alone is not enough. */
export function nodeIdOf(certificate: X509Certificate): string {
  const names = (certificate.subjectAltName ?? '')
    .split(', ')
    .filter((name) => name.startsWith(`URI:${URI_PREFIX}`))
    .map((name) => name.slice(`URI:${URI_PREFIX}`.length));
  const nodeId = names[0];
  if (names.length !== 1 || nodeId === undefined || !NODE_ID.test(nodeId)) {
    throw new DwcpError('ERR_DWCP_IDENTITY', 'the certificate names no dwcp node', {
      hint: 'Issue one with "dwcp keys issue NODE".',
    });
  }
  return nodeId;
}
