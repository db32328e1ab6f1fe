/** How a command finds its agent: from that agent's own configuration, or by address and certificate. */
import type { Command } from 'commander';
import { AdminClient } from '../agent/admin-client.ts';
import { loadAgentConfig, splitHostPort } from '../agent/config.ts';
import { loadNode } from '../identity/files.ts';
import { DwcpError } from '../util/errors.ts';
import type { JsonOption } from './output.ts';

export interface ConnectionOptions extends JsonOption {
  readonly config?: string;
  readonly agent?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
}

export function addConnectionOptions(command: Command): Command {
  return command
    .option('--config <file>', "the agent's configuration: address and certificate come from it")
    .option('--agent <host:port>', "the agent's admin address (default 127.0.0.1:7002)")
    .option('--cert <file>', "the operator's certificate")
    .option('--key <file>', "the operator's private key")
    .option('--ca <file>', "the authority's certificate");
}

/** The client is closed whatever happens, so that the command ends. */
export async function withAgent<T>(
  options: ConnectionOptions,
  use: (client: AdminClient) => Promise<T>,
): Promise<T> {
  const client = connect(options);
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

function connect(options: ConnectionOptions): AdminClient {
  const { cert, key, ca } = options;
  const config = options.config === undefined ? null : loadAgentConfig(options.config);
  const files =
    cert !== undefined && key !== undefined && ca !== undefined
      ? { certFile: cert, keyFile: key, caFile: ca }
      : config?.identity;
  if (files === undefined) {
    throw new DwcpError('ERR_DWCP_USAGE', 'no certificate to show the agent', {
      hint: 'Pass --config FILE of the agent, or --cert, --key and --ca together.',
    });
  }
  const address =
    options.agent === undefined
      ? (config?.admin.listen ?? { host: '127.0.0.1', port: 7002 })
      : splitHostPort(options.agent);
  return new AdminClient({ address, identity: loadNode(files), expectedNode: config?.id ?? null });
}
