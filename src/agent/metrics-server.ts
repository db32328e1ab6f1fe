/** Plain HTTP for scrapers: `/metrics` and `/health`. Meant for the loopback or a private address. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { DwcpNode } from '../node.ts';
import type { HostPort } from '../ports/transport.ts';
import { DwcpError } from '../util/errors.ts';
import { collectAgentMetrics } from './metrics.ts';

const REQUEST_WITHIN_MS = 10_000;
const CONNECTIONS_MAX = 64;

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

export async function startMetricsServer(node: DwcpNode, listen: HostPort): Promise<MetricsServer> {
  const metrics = collectAgentMetrics(node);
  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?')[0];
    if (path === '/health') answerHealth(node, response);
    else if (path === '/metrics') {
      metrics.registry.metrics().then(
        (text) => response.setHeader('content-type', metrics.registry.contentType).end(text),
        (error: unknown) => response.writeHead(500).end(String(error)),
      );
    } else response.writeHead(404).end('only /metrics and /health\n');
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.requestTimeout = REQUEST_WITHIN_MS;
  await listenOn(server, listen);
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      metrics.close();
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

/** Healthy is: this process answers. Peers that are down are said, since they are not its illness. */
function answerHealth(node: DwcpNode, response: ServerResponse): void {
  const peers = Object.fromEntries(node.peers().map((peer) => [peer.id, peer.connected]));
  response.setHeader('content-type', 'application/json');
  response.end(
    `${JSON.stringify({ ok: true, node: node.id, guests: node.guests().length, peers })}\n`,
  );
}

function listenOn(server: Server, listen: HostPort): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        new DwcpError(
          'ERR_DWCP_LISTEN',
          `cannot listen on ${listen.host}:${listen.port} for metrics: ${cause.code}`,
          { hint: 'Free the port, or choose another with metrics.listen.', cause },
        ),
      ),
    );
    server.listen(listen.port, listen.host, () => resolve());
  });
}
