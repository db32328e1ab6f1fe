/**
 * The agent's configuration: a YAML file against a strict schema, then `DWCP_<PATH>` variables over it
 * (`DWCP_LINK_STREAMS=8` is `link.streams`). What is refused is refused with the key's path and what is allowed.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { DwcpError } from '../util/errors.ts';
import { explainIssue, unwrap } from './config-issue.ts';
import { type AgentConfig, agentConfigSchema } from './config-schema.ts';

export { type AgentConfig, splitHostPort } from './config-schema.ts';

/** Paths inside the file are relative to the file. */
export function loadAgentConfig(
  file: string,
  environment: NodeJS.ProcessEnv = process.env,
): AgentConfig {
  const config = parseAgentConfig(readConfigFile(file), environment, file);
  const base = dirname(resolve(file));
  const { certFile, keyFile, caFile, revokedFile } = config.identity;
  return {
    ...config,
    dataDir: resolve(base, config.dataDir),
    identity: {
      certFile: resolve(base, certFile),
      keyFile: resolve(base, keyFile),
      caFile: resolve(base, caFile),
      ...(revokedFile === undefined ? {} : { revokedFile: resolve(base, revokedFile) }),
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
  refuseStrangers(result.data, source);
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

/** Every key of the schema that is not a group of keys. */
export function leafPaths(level: z.ZodType = agentConfigSchema): readonly (readonly string[])[] {
  const shape = unwrap(level);
  if (!(shape instanceof z.ZodObject)) return [[]];
  return Object.entries(shape.shape).flatMap(([key, value]) =>
    leafPaths(value as z.ZodType).map((rest) => [key, ...rest]),
  );
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

/** A voter must be one whom this agent can reach, and this agent one of them. */
function refuseStrangers(config: AgentConfig, source: string): void {
  const { voters } = config.group;
  const hosts = [config.id, ...config.peers.map(({ id }) => id)];
  const wrong = voters.find((voter, index) => {
    return !hosts.includes(voter) || voters.indexOf(voter) !== index;
  });
  if (wrong === undefined && (voters.length === 0 || voters.includes(config.id))) return;
  const what = wrong === undefined ? `"${config.id}" is missing` : `"${wrong}" cannot be one`;
  throw new DwcpError('ERR_DWCP_CONFIG', `${source}: group.voters: ${what}`, {
    hint: `Name this agent and peers of it, each once: ${hosts.join(', ')}.`,
  });
}
