/**
 * The agent's configuration: a YAML file against a strict schema, then `DWCP_<PATH>` variables over it
 * (`DWCP_LINK_STREAMS=8` is `link.streams`). What is refused is refused with the key's path and what is allowed.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import type { QemuBinary } from '../ports/hypervisor.ts';
import type { HostPort } from '../ports/transport.ts';
import { DwcpError } from '../util/errors.ts';
import { parseBytes } from '../util/units.ts';
import { explainIssue } from './config-issue.ts';

const nodeId = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'a node id: lower-case letters, digits and "-", at most 63');

/** Port 0 lets the kernel choose; the agent prints what it got. */
const hostPort = z
  .string()
  .regex(/^[^\s:]+:\d{1,5}$/, 'HOST:PORT, such as 10.0.0.1:7000')
  .transform(splitHostPort)
  .refine((address) => address.port <= 65535, 'HOST:PORT with a port from 0 to 65535');

const bytesOrRate = z.union([z.number().int().min(0), z.string().transform(parseSize)]);

const path = z.string().min(1);

const agentConfigSchema = z.strictObject({
  id: nodeId,
  listen: hostPort,
  peers: z
    .array(z.strictObject({ id: nodeId, address: hostPort }))
    .max(1000)
    .default([]),
  dataDir: path,
  identity: z.strictObject({ certFile: path, keyFile: path, caFile: path }),
  admin: z
    .strictObject({
      listen: hostPort.default({ host: '127.0.0.1', port: 7002 }),
      /** Certificate names that may administer this agent, besides its own. */
      operators: z.array(nodeId).max(100).default([]),
    })
    .prefault({}),
  metrics: z
    .strictObject({ listen: hostPort.default({ host: '127.0.0.1', port: 7003 }) })
    .prefault({}),
  link: z
    .strictObject({
      streams: z.number().int().min(1).max(512).default(4),
      maxBandwidth: bytesOrRate.default(0),
    })
    .prefault({}),
  /** Runs QEMU guests; `args` go before all others, `env` over the agent's own. */
  qemu: z
    .strictObject({
      binary: path.default('qemu-system-x86_64'),
      args: z.array(z.string()).max(64).default([]),
      env: z.record(z.string(), z.string()).default({}),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info'),
    })
    .prefault({}),
});

export interface AgentConfig {
  readonly id: string;
  readonly listen: HostPort;
  readonly peers: readonly { readonly id: string; readonly address: HostPort }[];
  readonly dataDir: string;
  readonly identity: IdentityFiles;
  readonly admin: { readonly listen: HostPort; readonly operators: readonly string[] };
  readonly metrics: { readonly listen: HostPort };
  /** Bandwidth in bytes per second per peer; 0 is unlimited. */
  readonly link: { readonly streams: number; readonly maxBandwidth: number };
  readonly qemu: QemuBinary;
  readonly log: { readonly level: LogLevel };
}

export interface IdentityFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';

/** Paths inside the file are relative to the file. */
export function loadAgentConfig(
  file: string,
  environment: NodeJS.ProcessEnv = process.env,
): AgentConfig {
  const config = parseAgentConfig(readConfigFile(file), environment, file);
  const base = dirname(resolve(file));
  const { certFile, keyFile, caFile } = config.identity;
  return {
    ...config,
    dataDir: resolve(base, config.dataDir),
    identity: {
      certFile: resolve(base, certFile),
      keyFile: resolve(base, keyFile),
      caFile: resolve(base, caFile),
    },
  };
}

export function parseAgentConfig(
  text: string,
  environment: NodeJS.ProcessEnv,
  source: string,
): AgentConfig {
  const document = parseDocument(text, source);
  applyEnvironment(document, environment);
  const result = agentConfigSchema.safeParse(document);
  if (!result.success) {
    const issues = result.error.issues.map((issue) => explainIssue(issue, agentConfigSchema));
    throw new DwcpError(
      'ERR_DWCP_CONFIG',
      `${source}: ${issues.map((issue) => issue.message).join('; ')}`,
      { hint: issues.map((issue) => issue.hint).join(' ') },
    );
  }
  refuseTwins(result.data, source);
  return result.data;
}

function readConfigFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code ?? 'error';
    throw new DwcpError('ERR_DWCP_CONFIG', `cannot read ${file}: ${errno}`, {
      hint: 'Pass --config FILE; docs/agent.example.yaml is a complete example.',
      errno,
      cause,
    });
  }
}

function parseDocument(text: string, source: string): Record<string, unknown> {
  let document: unknown;
  try {
    document = parseYaml(text) ?? {};
  } catch (cause) {
    const [reason] = (cause as Error).message.split('\n');
    throw new DwcpError('ERR_DWCP_CONFIG', `${source}: not YAML: ${reason}`, { cause });
  }
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    throw new DwcpError('ERR_DWCP_CONFIG', `${source}: must be a map of keys`, {
      hint: 'docs/agent.example.yaml is a complete example.',
    });
  }
  return document as Record<string, unknown>;
}

/** Every leaf of the schema has a variable; its text is read as YAML, so numbers are numbers. */
function applyEnvironment(document: Record<string, unknown>, environment: NodeJS.ProcessEnv): void {
  for (const keys of leafPaths()) {
    const text = environment[variableName(keys)];
    if (text === undefined) continue;
    let level = document;
    for (const key of keys.slice(0, -1)) {
      const next = level[key];
      // A wrong type stays where it is: the schema names it.
      if (next !== undefined && (typeof next !== 'object' || next === null)) return;
      level[key] = next ?? {};
      level = level[key] as Record<string, unknown>;
    }
    level[keys.at(-1) ?? ''] = parseYaml(text);
  }
}

export function variableName(keys: readonly string[]): string {
  const words = keys.map((key) => key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`));
  return `DWCP_${words.join('_').toUpperCase()}`;
}

function leafPaths(): readonly (readonly string[])[] {
  return [
    ...[['id'], ['listen'], ['peers'], ['dataDir']],
    ...['certFile', 'keyFile', 'caFile'].map((key) => ['identity', key]),
    ...[
      ['admin', 'listen'],
      ['admin', 'operators'],
      ['metrics', 'listen'],
    ],
    ...[
      ['link', 'streams'],
      ['link', 'maxBandwidth'],
      ...['binary', 'args', 'env'].map((key) => ['qemu', key]),
      ['log', 'level'],
    ],
  ];
}

function refuseTwins(config: AgentConfig, source: string): void {
  const seen = new Set([config.id]);
  config.peers.forEach((peer, index) => {
    if (seen.has(peer.id)) {
      throw new DwcpError(
        'ERR_DWCP_CONFIG',
        `${source}: peers.${index}.id: "${peer.id}" is named twice`,
        { hint: 'Give every node its own id, and do not list this node among its peers.' },
      );
    }
    seen.add(peer.id);
  });
}

export function splitHostPort(text: string): HostPort {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon), port: Number(text.slice(colon + 1)) };
}

function parseSize(text: string, context: z.RefinementCtx): number {
  try {
    return parseBytes(text);
  } catch {
    context.addIssue({
      code: 'custom',
      message: 'a number and a unit, such as 100MiB/s',
      input: text,
    });
    return z.NEVER;
  }
}
