/**
 * Unary calls of gRPC over plain HTTP/2, and nothing else of it: the library's server costs a member
 * more than the commit that a call is for.
 */
import { createServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';

export type UnaryAnswer = (error: Error | null, bytes: Uint8Array) => void;
export type UnaryMethod = (request: Buffer, answer: UnaryAnswer) => void;

const PREFIX_BYTES = 5;
/** A client has many calls in one connection, and none waits for another's window. */
const WINDOW_BYTES = 4 * 2 ** 20;
const UNIMPLEMENTED = 12;
const UNAVAILABLE = 14;
const HEADERS = { ':status': 200, 'content-type': 'application/grpc' } as const;

/** Answers with the port of 127.0.0.1 that it took. */
export function serveUnary(methods: ReadonlyMap<string, UnaryMethod>): Promise<number> {
  const server = createServer();
  server.on('session', (session) => {
    session.once('connect', () => session.setLocalWindowSize(WINDOW_BYTES));
  });
  server.on('stream', (stream, headers) => {
    const chunks: Buffer[] = [];
    // A call that its client gave up has nobody to tell.
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      const [first] = chunks;
      const body = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
      const method = methods.get(String(headers[':path']));
      const isPlain = body.length >= PREFIX_BYTES && body[0] === 0;
      if (method === undefined || !isPlain) return refuse(stream, UNIMPLEMENTED, 'unknown call');
      const end = PREFIX_BYTES + body.readUInt32BE(1);
      if (body.length !== end) return refuse(stream, UNIMPLEMENTED, 'not one message');
      method(body.subarray(PREFIX_BYTES), (error, bytes) => {
        if (stream.destroyed) return;
        if (error === null) reply(stream, bytes);
        else refuse(stream, UNAVAILABLE, error.message);
      });
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

function reply(stream: ServerHttp2Stream, bytes: Uint8Array): void {
  const message = Buffer.alloc(PREFIX_BYTES + bytes.length);
  message.writeUInt32BE(bytes.length, 1);
  message.set(bytes, PREFIX_BYTES);
  stream.respond(HEADERS, { waitForTrailers: true });
  stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(message);
}

function refuse(stream: ServerHttp2Stream, code: number, why: string): void {
  const status = { 'grpc-status': String(code), 'grpc-message': encodeURIComponent(why) };
  stream.respond({ ...HEADERS, ...status }, { endStream: true });
}
