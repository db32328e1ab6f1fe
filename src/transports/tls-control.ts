/**
 * Control channels over mutual TLS 1.3. Both sides trust one authority only, ours, and take the
 * peer's node id from its certificate: an address proves nothing.
 */
import { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import type { NodeIdentity } from '../identity/authority.ts';
import { Credentials } from '../identity/credentials.ts';
import { nodeIdOf } from '../identity/node-id.ts';
import type {
  ControlChannel,
  ControlEvent,
  ControlListener,
  ControlTransport,
  HostPort,
  RefusedConnections,
} from '../ports/transport.ts';
import { assert } from '../util/assert.ts';
import { type Completion, DwcpError, type ErrorCode, failed, succeeded } from '../util/errors.ts';
import { encodeFrame, FrameDecoder } from './frame-decoder.ts';
import { Refusals } from './refusals.ts';

export interface TlsControlOptions {
  /** Credentials may change; whoever has them reloads them. */
  readonly identity: NodeIdentity | Credentials;
  /** A longer frame closes the channel. */
  readonly maxFrameBytes?: number;
  /** What may wait in one socket before `send` answers `full`. */
  readonly maxBufferedBytes?: number;
  /** From the connection to the verified certificate. */
  readonly handshakeTimeoutMs?: number;
  /** Strangers who may be in the middle of a handshake at one time. */
  readonly maxPendingHandshakes?: number;
}

const EXPORTER_LABEL = 'EXPORTER-dwcp-link';
const SECRET_BYTES = 32;
/** What was sent before a close may still go out for this long. */
const LINGER_MS = 2000;

export function createTlsControlTransport(options: TlsControlOptions): ControlTransport {
  const limits = {
    maxFrameBytes: options.maxFrameBytes ?? 2 ** 20,
    maxBufferedBytes: options.maxBufferedBytes ?? 4 * 2 ** 20,
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? 5000,
    maxPendingHandshakes: options.maxPendingHandshakes ?? 64,
  };
  const { identity } = options;
  const credentials = identity instanceof Credentials ? identity : Credentials.of(identity);
  const channels = new Channels(credentials);
  return {
    listen: (address, onChannel, done, onRefused = () => {}) =>
      listen({ credentials, channels, limits, address, onChannel, onRefused, done }),
    dial: (address, expectedPeer, done) =>
      dial({ credentials, channels, limits, address, expectedPeer, done }),
  };
}

/** What stands, so that a peer that is revoked later does not keep it. */
class Channels {
  readonly #open = new Map<TlsChannel, X509Certificate>();

  constructor(credentials: Credentials) {
    credentials.onChange(() => {
      for (const [channel, certificate] of this.#open) {
        if (credentials.isRevoked(certificate)) channel.fail(revokedError(channel.peer));
      }
    });
  }

  add(channel: TlsChannel, socket: TLSSocket): void {
    const certificate = socket.getPeerX509Certificate();
    assert(certificate !== undefined, 'an authenticated peer has a certificate');
    this.#open.set(channel, certificate);
    socket.once('close', () => this.#open.delete(channel));
  }
}

/** As of now: a handshake that begins later asks again. */
function tlsOptions({ identity }: Credentials): TlsOptions {
  return {
    cert: identity.certificatePem,
    key: identity.privateKeyPem,
    ca: identity.authorityPem,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    rejectUnauthorized: true,
  };
}

function revokedError(peer: string): DwcpError {
  return new DwcpError('ERR_DWCP_IDENTITY', `the certificate of ${peer} was revoked`, {
    hint: 'It stands in identity.revokedFile of this node.',
  });
}

interface Limits {
  readonly maxFrameBytes: number;
  readonly maxBufferedBytes: number;
  readonly handshakeTimeoutMs: number;
  readonly maxPendingHandshakes: number;
}

interface TlsOptions {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
  readonly minVersion: 'TLSv1.3';
  readonly maxVersion: 'TLSv1.3';
  readonly rejectUnauthorized: true;
}

interface ListenOptions {
  readonly credentials: Credentials;
  readonly channels: Channels;
  readonly limits: Limits;
  readonly address: HostPort;
  readonly onChannel: (channel: ControlChannel) => void;
  readonly onRefused: (refused: RefusedConnections) => void;
  readonly done: Completion<ControlListener>;
}

function listen(options: ListenOptions): void {
  const { credentials, channels, limits, address, onChannel, done } = options;
  const { handshakeTimeoutMs: handshakeTimeout } = limits;
  const refusals = new Refusals(options.onRefused);
  const server = createServer({
    ...tlsOptions(credentials),
    ...{ requestCert: true, handshakeTimeout },
  });
  credentials.onChange(() => server.setSecureContext(tlsOptions(credentials)));
  const pending = new Map<string, Socket>();
  server.on('connection', (socket: Socket) => {
    const name = remoteOf(socket);
    const [oldest] = pending.size < limits.maxPendingHandshakes ? [] : pending;
    if (oldest !== undefined) {
      // It had the most time; refusing the new one would lock everybody out instead.
      pending.delete(oldest[0]);
      oldest[1].destroy();
      refusals.add(refusedError('ERR_DWCP_LIMIT', oldest[0], 'too many handshakes at one time'));
    }
    pending.set(name, socket);
    socket.once('close', () => {
      if (pending.get(name) !== socket) return;
      pending.delete(name);
      refusals.add(refusedError('ERR_DWCP_PEER_UNREACHABLE', name, 'it left in its handshake'));
    });
  });
  server.on('tlsClientError', (cause: NodeJS.ErrnoException, socket) => {
    const name = remoteOf(socket);
    // One that was pushed out is told already, one that left is told by its close.
    const isNews = cause.code !== 'ECONNRESET' && pending.delete(name);
    if (isNews) refusals.add(handshakeError(name, cause));
    socket.destroy();
  });
  server.on('secureConnection', (socket) => {
    const name = remoteOf(socket);
    pending.delete(name);
    const peer = peerOf(socket);
    const certificate = socket.getPeerX509Certificate();
    if (peer === null || certificate === undefined) {
      socket.destroy();
      refusals.add(refusedError('ERR_DWCP_IDENTITY', name, 'its certificate names no node'));
    } else if (credentials.isRevoked(certificate)) {
      socket.destroy();
      const why = `the certificate of ${peer} was revoked`;
      refusals.add(refusedError('ERR_DWCP_IDENTITY', name, why));
    } else {
      const channel = new TlsChannel(socket, peer, limits);
      channels.add(channel, socket);
      onChannel(channel);
    }
  });
  const onError = (cause: NodeJS.ErrnoException): void => {
    done(failed(listenError(address, cause)));
  };
  server.once('error', onError);
  server.listen(address.port, address.host, () => {
    server.off('error', onError);
    // An accept that fails later, such as EMFILE, is retried by the kernel's queue.
    server.on('error', () => {});
    const bound = server.address();
    assert(bound !== null && typeof bound === 'object', 'a bound server has a port');
    done(
      succeeded({
        port: bound.port,
        close: () => {
          server.close();
          for (const socket of pending.values()) socket.destroy();
          pending.clear();
        },
      }),
    );
  });
}

interface DialOptions {
  readonly credentials: Credentials;
  readonly channels: Channels;
  readonly limits: Limits;
  readonly address: HostPort;
  readonly expectedPeer: string;
  readonly done: Completion<ControlChannel>;
}

function dial(options: DialOptions): void {
  const { credentials, channels, limits, address, expectedPeer, done } = options;
  const socket = connect({
    ...tlsOptions(credentials),
    host: address.host,
    port: address.port,
    checkServerIdentity: (_host, { raw }) => checkPeer(raw, expectedPeer, credentials),
  });
  const finish = (error: DwcpError | null): void => {
    clearTimeout(timer);
    socket.removeAllListeners('error').removeAllListeners('close');
    if (error === null) {
      const channel = new TlsChannel(socket, expectedPeer, limits);
      channels.add(channel, socket);
      done(succeeded(channel));
    } else {
      socket.on('error', () => {});
      socket.destroy();
      done(failed(error));
    }
  };
  const timer = setTimeout(
    () => finish(unreachable(address, new Error('no handshake in time'))),
    limits.handshakeTimeoutMs,
  );
  socket.once('secureConnect', () => finish(null));
  socket.once('error', (error) => finish(dialError(address, error)));
  socket.once('close', () => finish(unreachable(address, new Error('closed by the peer'))));
}

class TlsChannel implements ControlChannel {
  readonly peer: string;
  readonly secret: Uint8Array;
  readonly #socket: TLSSocket;
  readonly #limits: Limits;
  readonly #decoder: FrameDecoder;
  #listener: ((event: ControlEvent) => void) | null = null;
  #error: DwcpError | null = null;
  #closed = false;
  #reported = false;

  constructor(socket: TLSSocket, peer: string, limits: Limits) {
    this.peer = peer;
    this.secret = new Uint8Array(
      socket.exportKeyingMaterial(SECRET_BYTES, EXPORTER_LABEL, Buffer.alloc(0)),
    );
    this.#socket = socket;
    this.#limits = limits;
    this.#decoder = new FrameDecoder(limits.maxFrameBytes);
    socket.setNoDelay(true);
    socket.on('error', (cause) => {
      this.#error ??= new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `lost ${peer}`, { cause });
    });
    socket.on('close', () => this.#onClose());
    // Half a channel is of no use: a peer that ended is a peer that left.
    socket.on('end', () => this.close());
  }

  subscribe(listener: (event: ControlEvent) => void): void {
    assert(this.#listener === null, 'a channel is subscribed once');
    this.#listener = listener;
    if (this.#socket.destroyed) setImmediate(() => this.#report());
    else this.#socket.on('data', (chunk: Buffer) => this.#onData(chunk));
  }

  send(frame: Uint8Array): 'accepted' | 'full' | 'closed' {
    assert(frame.length <= this.#limits.maxFrameBytes, `a frame within bounds: ${frame.length}`);
    if (this.#closed || !this.#socket.writable) return 'closed';
    const bytes = encodeFrame(frame);
    if (this.#socket.writableLength + bytes.length > this.#limits.maxBufferedBytes) return 'full';
    this.#socket.write(bytes);
    return 'accepted';
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroySoon();
    if (this.#listener === null) this.#socket.resume();
    const timer = setTimeout(() => this.#socket.destroy(), LINGER_MS);
    this.#socket.once('close', () => clearTimeout(timer));
  }

  /** Ends it at once, with a reason of ours. */
  fail(error: DwcpError): void {
    this.#error ??= error;
    this.#closed = true;
    this.#socket.destroy();
  }

  #onData(chunk: Uint8Array): void {
    try {
      for (const frame of this.#decoder.write(chunk)) {
        if (!this.#closed) this.#listener?.({ type: 'frame', frame });
      }
    } catch (error) {
      if (!(error instanceof DwcpError)) throw error;
      this.fail(error);
    }
  }

  #onClose(): void {
    this.#closed = true;
    if (this.#listener !== null) this.#report();
  }

  #report(): void {
    if (this.#reported) return;
    this.#reported = true;
    this.#listener?.({ type: 'closed', error: this.#error });
  }
}

function peerOf(socket: TLSSocket): string | null {
  const certificate = socket.getPeerX509Certificate();
  if (!socket.authorized || certificate === undefined) return null;
  try {
    return nodeIdOf(certificate);
  } catch {
    return null;
  }
}

function checkPeer(raw: Buffer, expectedPeer: string, ours: Credentials): Error | undefined {
  try {
    const certificate = new X509Certificate(raw);
    if (ours.isRevoked(certificate)) return revokedError(expectedPeer);
    const found = nodeIdOf(certificate);
    if (found === expectedPeer) return undefined;
    return new DwcpError('ERR_DWCP_IDENTITY', `expected node ${expectedPeer}, found ${found}`, {
      hint: 'Check the address of that peer in the configuration.',
    });
  } catch (error) {
    return error as Error;
  }
}

function remoteOf(socket: Socket): string {
  return `${socket.remoteAddress}:${socket.remotePort}`;
}

function dialError(address: HostPort, cause: NodeJS.ErrnoException): DwcpError {
  if (cause instanceof DwcpError) return cause;
  // A system call failed, or TLS did: only the latter is about who they are.
  if (cause.syscall !== undefined || cause.code === 'ECONNRESET')
    return unreachable(address, cause);
  return new DwcpError(
    'ERR_DWCP_IDENTITY',
    `${address.host}:${address.port} was refused: ${cause.message}`,
    { hint: 'Both nodes need certificates of one authority; see "dwcp keys issue".', cause },
  );
}

function handshakeError(from: string, cause: NodeJS.ErrnoException): DwcpError {
  if (cause.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') {
    return refusedError('ERR_DWCP_TIMEOUT', from, 'no handshake in time');
  }
  const isStranger = /CERT|ISSUER|SIGN/i.test(`${cause.code} ${cause.message}`);
  const code = isStranger ? 'ERR_DWCP_IDENTITY' : 'ERR_DWCP_PROTOCOL';
  return refusedError(code, from, cause.message);
}

function refusedError(code: ErrorCode, from: string, why: string): DwcpError {
  return new DwcpError(code, `control connection from ${from}: ${why}`);
}

function unreachable(address: HostPort, cause: NodeJS.ErrnoException): DwcpError {
  const where = `${address.host}:${address.port}`;
  return new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `cannot reach ${where}: ${cause.message}`, {
    hint: 'Check that the peer runs and that its port is open.',
    cause,
    ...(cause.code === undefined ? {} : { errno: cause.code }),
  });
}

function listenError(address: HostPort, cause: NodeJS.ErrnoException): DwcpError {
  const where = `${address.host}:${address.port}`;
  return new DwcpError('ERR_DWCP_LISTEN', `cannot listen on ${where}: ${cause.message}`, {
    hint: 'Choose a free port and an address of this machine.',
    cause,
    ...(cause.code === undefined ? {} : { errno: cause.code }),
  });
}
