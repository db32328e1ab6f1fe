/**
 * Three agents as three processes on this machine, with throw-away keys in a temporary directory.
 * `stop` leaves nothing behind: no process, no guest, no file.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { AdminClient } from '../../agent/admin-client.ts';
import { type Authority, createAuthority, issueNode } from '../../identity/authority.ts';
import { saveNode } from '../../identity/files.ts';
import { DwcpError } from '../../util/errors.ts';
import { freePorts } from './free-ports.ts';

const BIN = fileURLToPath(new URL('../../../../bin/dwcp.js', import.meta.url));
/** A busy machine that is emulated takes minutes to start three processes of Node. */
const READY_WITHIN_MS = 300_000;
const EXIT_WITHIN_MS = 3_000;
/** Last lines of an agent's log that explain why it did not start. */
const LOG_LINES_KEPT = 20;
const NODES = ['a', 'b', 'c'] as const;

export interface DemoCluster {
  readonly directory: string;
  /** Of a, b and c. */
  readonly dataDirs: readonly string[];
  readonly clients: ReadonlyMap<string, AdminClient>;
  /** `kill -9`, as a fault test wants it: the guests stay. */
  crash(node: string): Promise<void>;
  /** Resolves when the agent's process is gone, by whatever hand. */
  exited(node: string): Promise<void>;
  /** Starts a crashed agent again on what it left in its data directory. */
  restart(node: string): Promise<void>;
  stop(): Promise<void>;
}

/** What the scenario asks of an agent. */
export type DemoClient = Pick<AdminClient, 'status' | 'guests' | 'startGuest' | 'migrate'>;

export interface DemoClusterOptions {
  /** Settings of every agent's configuration besides those the cluster needs. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Of one of them: what no two agents may share. `directory` is that of the cluster. */
  readonly settingsOf?: (directory: string, node: string) => Readonly<Record<string, unknown>>;
  /** What runs as an agent, a JavaScript file; default `dwcp` itself. */
  readonly program?: string;
  /** Address of the host of each agent; default 127.0.0.1. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** Words before the command of an agent, such as those that enter its network namespace. */
  readonly prefix?: (node: string) => readonly string[];
  /** Words after the command of an agent, for a program of a test. */
  readonly flags?: (directory: string, node: string) => readonly string[];
  /** Over the environment of the agent of `node`. */
  readonly environment?: (directory: string, node: string) => Readonly<Record<string, string>>;
  /** Aborted while the cluster starts: the start fails, and nothing of it is left. */
  readonly signal?: AbortSignal;
}

interface Agent {
  readonly process: ChildProcess;
  readonly log: string[];
}

export async function startDemoCluster(options: DemoClusterOptions = {}): Promise<DemoCluster> {
  const directory = mkdtempSync(join(tmpdir(), 'dwcp-demo-'));
  const clients = new Map<string, AdminClient>();
  const agents = new Map<string, Agent>();
  let isStopping = false;
  const start = async (node: string): Promise<void> => {
    if (isStopping) throw stopped();
    const agent = spawnAgent({
      program: options.program ?? BIN,
      prefix: options.prefix?.(node) ?? [],
      config: configFile(directory, node),
      flags: options.flags?.(directory, node) ?? [],
      environment: options.environment?.(directory, node) ?? {},
    });
    agents.set(node, agent);
    await agentReady(node, agent);
  };
  const exited = async (node: string): Promise<void> => {
    const child = agents.get(node)?.process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    await new Promise((resolve) => child.once('exit', resolve));
  };
  const crash = (node: string): Promise<void> => {
    const gone = exited(node);
    agents.get(node)?.process.kill('SIGKILL');
    return gone;
  };
  let starting: Promise<unknown> = Promise.resolve();
  let stopping: Promise<void> | null = null;
  const stopAll = async () => {
    isStopping = true;
    for (const client of clients.values()) client.close();
    await Promise.all([...agents.values()].map(stopAgent));
    // What was under way may have written a file or two more; it starts no agent any more.
    await starting;
    killLeftovers(directory);
    rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  };
  const stop = () => {
    stopping ??= stopAll();
    return stopping;
  };
  try {
    const authority = await createAuthority();
    const operator = await issueNode(authority, 'operator');
    const ports = await freePorts(NODES.length * 2);
    const hostOf = (node: string) => options.hosts?.[node] ?? '127.0.0.1';
    const addressOf = (node: string, index: number) => `${hostOf(node)}:${ports[index]}`;
    const eachReady = NODES.map(async (id, index) => {
      const peers = NODES.flatMap((peer, at) =>
        peer === id ? [] : [{ id: peer, address: addressOf(peer, at) }],
      );
      await writeConfig(directory, authority, id, {
        ...options.settings,
        ...options.settingsOf?.(directory, id),
        listen: addressOf(id, index),
        admin: { listen: addressOf(id, index + NODES.length), operators: ['operator'] },
        peers,
      });
      await start(id);
      return ports[index + NODES.length] ?? 0;
    });
    starting = Promise.allSettled(eachReady);
    const ready = await Promise.race([Promise.all(eachReady), aborted(options.signal)]);
    NODES.forEach((id, index) => {
      const address = { host: hostOf(id), port: ready[index] ?? 0 };
      clients.set(id, new AdminClient({ address, identity: operator, expectedNode: id }));
    });
    const dataDirs = NODES.map((id) => dataDir(directory, id));
    return { directory, dataDirs, clients, crash, exited, restart: start, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Never resolves. */
function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    if (signal?.aborted) reject(stopped());
    signal?.addEventListener('abort', () => reject(stopped()), { once: true });
  });
}

function stopped(): DwcpError {
  return new DwcpError('ERR_DWCP_CANCELLED', 'the cluster was stopped while it started');
}

async function writeConfig(
  directory: string,
  authority: Authority,
  id: string,
  settings: object,
): Promise<void> {
  const identity = saveNode(join(directory, id), await issueNode(authority, id));
  const document = {
    id,
    ...settings,
    dataDir: dataDir(directory, id),
    identity,
    metrics: { listen: '127.0.0.1:0' },
    log: { level: 'warn' },
  };
  writeFileSync(configFile(directory, id), stringify(document));
}

function dataDir(directory: string, id: string): string {
  return join(directory, id, 'data');
}

function configFile(directory: string, id: string): string {
  return join(directory, `${id}.yaml`);
}

interface Spawn {
  readonly program: string;
  readonly prefix: readonly string[];
  readonly config: string;
  readonly flags: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

function spawnAgent({ program, prefix, config, flags, environment }: Spawn): Agent {
  // Only ours: an operator's DWCP_ variables would override what the demo just wrote.
  const clean = Object.entries(process.env).filter(([name]) => !name.startsWith('DWCP_'));
  const words = ['agent', '--json', '--config', config, ...flags];
  const command = [...prefix, process.execPath, program, ...words];
  const [first = process.execPath, ...rest] = command;
  const child = spawn(first, rest, {
    env: { ...Object.fromEntries(clean), DWCP_NO_SETUP: '1', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A Ctrl-C in the terminal is the demo's to handle: it stops its agents in order.
    detached: true,
  });
  const log: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    log.push(line);
    if (log.length > LOG_LINES_KEPT) log.shift();
    process.stderr.write(`${line}\n`);
  });
  return { process: child, log };
}

function agentReady(id: string, agent: Agent): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (why: string) =>
      reject(
        new DwcpError('ERR_DWCP_PEER_UNREACHABLE', `agent ${id} ${why}: ${agent.log.join(' | ')}`, {
          hint: '"dwcp doctor" says what this machine lacks.',
        }),
      );
    const timer = setTimeout(() => refuse('did not get ready'), READY_WITHIN_MS);
    agent.process.once('exit', (code, signal) => {
      clearTimeout(timer);
      refuse(`ended with ${signal ?? code}`);
    });
    // A refused start also prints a document; only this one means ready, the exit tells the rest.
    createInterface({ input: agent.process.stdout ?? process.stdin }).on('line', (line) => {
      if (!line.startsWith('{"type":"ready"')) return;
      clearTimeout(timer);
      resolve();
    });
  });
}

async function stopAgent(agent: Agent): Promise<void> {
  const child = agent.process;
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), EXIT_WITHIN_MS);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill('SIGTERM');
  });
}

/** Guests outlive agents by design; those of the demo name its directory on their command line. */
function killLeftovers(directory: string): void {
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const words = readFileSync(`/proc/${entry}/cmdline`, 'utf8');
      if (words.includes(`${directory}/`)) process.kill(pid, 'SIGKILL');
    } catch {
      // It ended meanwhile, or is not ours to look at.
    }
  }
}
