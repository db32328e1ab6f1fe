/** Ports of loopback that nobody listened on a moment ago. */
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';

export async function freePorts(count: number): Promise<readonly number[]> {
  // All held at once, so that no two are the same.
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
