/**
 * Ports of loopback for processes that may be killed and started again on them. They lie below those
 * that the kernel gives to outgoing connections, one of which would else take the port of an agent
 * that is away for a moment.
 */
import { randomInt } from 'node:crypto';
import { createServer, type Server } from 'node:net';

const FIRST_PORT = 10_240;
/** `net.ipv4.ip_local_port_range` begins there unless somebody changed it. */
const END_PORT = 32_768;
const TRIES_PER_PORT = 100;

/** Nobody listened on any of them a moment ago. */
export async function freePorts(count: number): Promise<readonly number[]> {
  // All held at once, so that no two are the same.
  const servers = await Promise.all(Array.from({ length: count }, () => holdOne(TRIES_PER_PORT)));
  await Promise.all(servers.map(({ server }) => new Promise((resolve) => server.close(resolve))));
  return servers.map(({ port }) => port);
}

async function holdOne(tries: number): Promise<{ readonly server: Server; readonly port: number }> {
  const port = randomInt(FIRST_PORT, END_PORT);
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
    return { server, port };
  } catch (error) {
    if (tries <= 1) throw error;
    return holdOne(tries - 1);
  }
}
