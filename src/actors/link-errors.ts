/** Why a link is down, or carries no memory, and what to do about it. */
import { DwcpError } from '../util/errors.ts';

/** We dial the streams and none comes to stand. */
export function unreachedBulk(peer: string, port: number, why: DwcpError | null): DwcpError {
  const reason = why === null ? 'no answer' : `${why.message}${why.errno ? ` (${why.errno})` : ''}`;
  const what = `${peer} answers, but no bulk stream to its port ${port} stands: ${reason}`;
  return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', what, {
    hint: `Let this host through to TCP port ${port} of ${peer}; its configuration can fix the port with bulkPort.`,
  });
}

/** The peer dials the streams and none arrives. */
export function unreachedByPeer(peer: string, port: number): DwcpError {
  const what = `${peer} is connected, but no bulk stream of it arrived at our port ${port}`;
  return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', what, {
    hint: `Let ${peer} through to TCP port ${port} of this host; bulkPort in the configuration fixes the port.`,
  });
}

export function deaf(peer: string): DwcpError {
  return lost(peer, 'it does not read its control channel');
}

export function lost(peer: string, why: string): DwcpError {
  return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `lost ${peer}: ${why}`, {
    hint: 'It is dialled again by itself; check the peer if this lasts.',
  });
}

/** What was asked of the link is not in it to give. */
export function unsupported(why: string): DwcpError {
  return new DwcpError('ERR_DWCP_UNSUPPORTED', why);
}
