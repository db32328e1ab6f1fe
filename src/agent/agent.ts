/** One host agent: the node, its admin service and its metrics, from start to signal. */
import { mkdirSync } from 'node:fs';
import type { Logger } from 'pino';
import { loadNode } from '../identity/files.ts';
import type { DwcpNode, GuestHandle, StartNodeOptions } from '../node.ts';
import { DwcpError } from '../util/errors.ts';
import { type AdminService, startAdminService } from './admin-service.ts';
import type { AgentConfig } from './config.ts';
import { type MetricsServer, startMetricsServer } from './metrics-server.ts';

export interface AgentParts {
  readonly startNode: (options: StartNodeOptions) => Promise<DwcpNode>;
  readonly makeGuest: (kind: string, name: string, optionsJson: string) => GuestHandle;
  readonly logger: Logger;
}

export interface RunningAgent {
  readonly node: DwcpNode;
  readonly adminPort: number;
  readonly metricsPort: number;
  /** Guests live on: they belong to the host, not to this process. Idempotent. */
  stop(): Promise<void>;
}

export async function runAgent(config: AgentConfig, parts: AgentParts): Promise<RunningAgent> {
  const identity = loadNode(config.identity);
  if (identity.nodeId !== config.id) {
    throw new DwcpError(
      'ERR_DWCP_IDENTITY',
      `${config.identity.certFile} is the certificate of "${identity.nodeId}", not "${config.id}"`,
      { hint: `Issue one with: dwcp keys issue ${config.id}` },
    );
  }
  makeDataDirectory(config.dataDir);
  const node = await parts.startNode(nodeOptions(config, parts.logger));
  let admin: AdminService | null = null;
  let metrics: MetricsServer | null = null;
  let stopping: Promise<void> | null = null;
  const stop = () => {
    stopping ??= (async () => {
      admin?.close();
      await metrics?.close();
      await node.stop();
    })();
    return stopping;
  };
  try {
    const { listen, operators } = config.admin;
    const { makeGuest } = parts;
    admin = await startAdminService({ node, listen, identity, operators, makeGuest });
    metrics = await startMetricsServer(node, config.metrics.listen);
  } catch (error) {
    await stop();
    throw error;
  }
  return { node, adminPort: admin.port, metricsPort: metrics.port, stop };
}

function nodeOptions(config: AgentConfig, logger: Logger): StartNodeOptions {
  const { mode, modeRules, streams, chunkBytes, windowBytes, congestionControl, maxBandwidth } =
    config.link;
  return {
    id: config.id,
    listen: config.listen,
    peers: config.peers.map(({ id, address, trustedNetwork }) => {
      return { id, ...address, ...(trustedNetwork === undefined ? {} : { trustedNetwork }) };
    }),
    encryption: config.link.encryption,
    cipher: config.link.cipher,
    group: config.group,
    dataDir: config.dataDir,
    identity: config.identity,
    bulkPort: config.bulkPort,
    linkMode: mode,
    linkModeRules: modeRules,
    streams,
    chunkBytes,
    windowBytes,
    congestionControl,
    transport: config.link.transport,
    requireTransport: config.link.requireTransport,
    maxBandwidth,
    maxConcurrentMigrations: config.migrations.concurrent,
    resumeGraceMs: config.migrations.resumeGraceMs,
    allowPostcopy: config.migrations.allowPostcopy,
    maxCpuPercent: config.migrations.maxCpuPercent,
    migrationBandwidth: config.migrations.maxBandwidth,
    qemu: config.qemu,
    ...(config.cache === null ? {} : { contentCache: config.cache }),
    logger,
  };
}

function makeDataDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code ?? 'error';
    throw new DwcpError('ERR_DWCP_STORAGE', `cannot make the data directory ${path}: ${errno}`, {
      hint: 'Choose a dataDir that this user may write.',
      errno,
      cause,
    });
  }
}
