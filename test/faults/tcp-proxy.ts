/** A TCP proxy on loopback that damages or swallows what a test wants lost. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface TcpProxy {
  readonly port: number;
  swallowedBytes(): number;
  close(): void;
}

/**
 * `pass` may change what goes from the dialler to the listener, from `offset` of its connection on; on
 * false the proxy keeps the bytes, and everything after them.
 */
export function tcpProxy(
  targetPort: number,
  pass: (bytes: Buffer, offset: number) => boolean,
): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let swallowedBytes = 0;
  const server = createServer((near) => {
    let offset = 0;
    let passes = true;
    const far = connect(targetPort, '127.0.0.1');
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.on('data', (bytes) => {
      const piece = Buffer.from(bytes as Buffer);
      passes &&= pass(piece, offset);
      offset += piece.length;
      if (!passes) swallowedBytes += piece.length;
      else if (!far.write(piece)) {
        near.pause();
        far.once('drain', () => near.resume());
      }
    });
    far.pipe(near, { end: false });
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      const close = (): void => {
        for (const socket of sockets) socket.destroy();
        server.close();
      };
      resolve({ port, swallowedBytes: () => swallowedBytes, close });
    });
  });
}
