/** What an agent's configuration may say; every refusal carries the sentence of what is allowed. */
import { z } from 'zod';
import { type LinkModeRules, NODE_DEFAULTS } from '../node.ts';
import type { ContentCacheOptions } from '../ports/content-cache.ts';
import { CIPHERS, type Cipher, DEFAULT_CIPHER } from '../ports/encryption.ts';
import type { QemuBinary } from '../ports/hypervisor.ts';
import { LINK_MODES, type LinkMode } from '../ports/link-mode.ts';
import type { CongestionControl, HostPort } from '../ports/transport.ts';
import { RESUME_GRACE_MS_MAX } from '../protocols/migration/types.ts';
import { parseBytes } from '../util/units.ts';

export interface AgentConfig {
  readonly id: string;
  readonly listen: HostPort;
  readonly bulkPort: number;
  readonly peers: readonly PeerConfig[];
  /** None means this host and all its peers. */
  readonly group: { readonly voters: readonly string[] };
  readonly dataDir: string;
  readonly identity: IdentityFiles;
  readonly admin: { readonly listen: HostPort; readonly operators: readonly string[] };
  readonly metrics: { readonly listen: HostPort };
  readonly link: LinkConfig;
  readonly migrations: MigrationsConfig;
  readonly qemu: QemuBinary;
  /** Absent: none. */
  readonly cache: ContentCacheOptions | null;
  readonly log: { readonly level: LogLevel };
}

export interface PeerConfig {
  readonly id: string;
  readonly address: HostPort;
  /** Of the network between here and there; absent: what `link.encryption` says. */
  readonly trustedNetwork?: boolean | undefined;
}

export interface LinkConfig {
  /** Of every link that nobody forced. */
  readonly mode: LinkMode | 'auto';
  readonly modeRules: LinkModeRules;
  /** Of memory under way, to peers of whose network nothing is said. `off` trusts all of it. */
  readonly encryption: 'on' | 'off';
  readonly cipher: Cipher;
  readonly streams: number | 'auto';
  readonly chunkBytes: number | 'auto';
  readonly windowBytes: number;
  readonly congestionControl: CongestionControl | 'auto';
  /** What carries memory; `auto` takes RDMA where both hosts have it. */
  readonly transport: 'auto' | 'tcp' | 'rdma';
  /** With `rdma`: refuse instead of falling back to TCP. */
  readonly requireTransport: boolean;
  /** Bytes per second per peer; 0 is unlimited. */
  readonly maxBandwidth: number;
}

export interface MigrationsConfig {
  readonly concurrent: number;
  /** How long a move from here waits for a broken link while its guest runs. */
  readonly resumeGraceMs: number;
  /** QEMU guests that do not converge may run at the destination early: losing either host then loses them. */
  readonly allowPostcopy: boolean;
  /** Of one core; 0 is unlimited. */
  readonly maxCpuPercent: number;
  /** Bytes per second of a migration that names no limit; 0 is unlimited. */
  readonly maxBandwidth: number;
}

export interface IdentityFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
  readonly revokedFile?: string | undefined;
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';

const PAGE_BYTES = 4096;
const MIB = 2 ** 20;

const nodeId = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'a node id: lower-case letters, digits and "-", at most 63');

/** Port 0 lets the kernel choose; the agent prints what it got. */
const hostPort = z
  .string()
  .regex(/^[^\s:]+:\d{1,5}$/, 'HOST:PORT, such as 10.0.0.1:7000')
  .transform(splitHostPort)
  .refine((address) => address.port <= 65535, 'HOST:PORT with a port from 0 to 65535');

const path = z.string().min(1);

const rate = amount('a number of 0 or more, or a rate such as 100MiB/s', () => true);

const chunkBytes = checked<number | 'auto'>(
  'whole pages of 4KiB from 16KiB to 16MiB, such as 1MiB, or auto',
  (value) => {
    if (value === 'auto') return value;
    const bytes = typeof value === 'number' ? value : bytesOf(value);
    const fits = bytes >= 16 * 1024 && bytes <= 16 * MIB && bytes % PAGE_BYTES === 0;
    return fits ? bytes : null;
  },
);

const windowBytes = amount(
  'a size from 1MiB to 4GiB, such as 32MiB',
  (bytes) => bytes >= MIB && bytes <= 4096 * MIB,
);

const cacheBytes = amount(
  'a size from 1MiB to 16TiB, such as 4GiB',
  (bytes) => bytes >= MIB && bytes <= 2 ** 44,
);

const streams = checked<number | 'auto'>('a whole number from 1 to 512, or auto', (value) => {
  if (value === 'auto') return value;
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 512
    ? Number(value)
    : null;
});

const modeRules = z
  .strictObject({
    nearMs: z.number().positive().max(60_000).default(10),
    farMs: z.number().positive().max(60_000).default(50),
    wideBytesPerSec: rate.default(125_000_000),
    hysteresis: z.number().min(0).max(0.9).default(0.2),
    confidence: z.number().min(0.5).max(1).default(0.7),
    samples: z.number().int().min(3).max(100).default(10),
    minStayMs: z.number().int().min(0).max(86_400_000).default(60_000),
    coolDownMs: z.number().int().min(0).max(86_400_000).default(30_000),
    maxPerMinute: z.number().int().min(1).max(60).default(2),
  })
  .refine((rules) => rules.nearMs <= rules.farMs, {
    path: ['farMs'],
    message: 'at least link.modeRules.nearMs',
  });

export const agentConfigSchema: z.ZodType<AgentConfig> = z.strictObject({
  id: nodeId,
  listen: hostPort,
  bulkPort: z.number().int().min(0).max(65535).default(0),
  peers: z
    .array(
      z.strictObject({ id: nodeId, address: hostPort, trustedNetwork: z.boolean().optional() }),
    )
    .max(1000)
    .default([]),
  group: z.strictObject({ voters: z.array(nodeId).max(255).default([]) }).prefault({}),
  dataDir: path,
  identity: z.strictObject({
    certFile: path,
    keyFile: path,
    caFile: path,
    /** Who is refused although our authority signed for it; read again on SIGHUP, as all of these. */
    revokedFile: path.optional(),
  }),
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
      mode: z.enum(['auto', ...LINK_MODES]).default(NODE_DEFAULTS.linkMode),
      modeRules: modeRules.prefault({}),
      streams: streams.default(NODE_DEFAULTS.streams),
      chunkBytes: chunkBytes.default(NODE_DEFAULTS.chunkBytes),
      windowBytes: windowBytes.default(NODE_DEFAULTS.windowBytes),
      encryption: z.enum(['on', 'off']).default('on'),
      cipher: z.enum(CIPHERS).default(DEFAULT_CIPHER),
      congestionControl: z.enum(['auto', 'cubic', 'reno', 'bbr']).default('auto'),
      transport: z.enum(['auto', 'tcp', 'rdma']).default('auto'),
      requireTransport: z.boolean().default(false),
      maxBandwidth: rate.default(0),
    })
    .refine((link) => !link.requireTransport || link.transport === 'rdma', {
      path: ['requireTransport'],
      message: 'false, unless link.transport is rdma',
    })
    .refine((link) => link.chunkBytes === 'auto' || link.windowBytes >= link.chunkBytes, {
      path: ['windowBytes'],
      message: 'at least link.chunkBytes',
    })
    .prefault({}),
  migrations: z
    .strictObject({
      concurrent: z.number().int().min(1).max(64).default(NODE_DEFAULTS.maxConcurrentMigrations),
      resumeGraceMs: z
        .number()
        .int()
        .min(0)
        .max(RESUME_GRACE_MS_MAX)
        .default(NODE_DEFAULTS.resumeGraceMs),
      allowPostcopy: z.boolean().default(false),
      maxCpuPercent: z.number().int().min(0).max(6400).default(0),
      maxBandwidth: rate.default(0),
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
  /** Page contents that this host keeps, so that they are not sent to it again. */
  cache: z
    .strictObject({ dir: path, maxBytes: cacheBytes, secretFile: path })
    .nullable()
    .default(null),
  log: z
    .strictObject({
      level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info'),
    })
    .prefault({}),
});

export function splitHostPort(text: string): HostPort {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon), port: Number(text.slice(colon + 1)) };
}

/** Bytes, or bytes per second, as a number or as people write them. */
function amount(allowed: string, fits: (bytes: number) => boolean) {
  return checked(allowed, (value) => {
    const bytes = typeof value === 'number' ? value : bytesOf(value);
    return Number.isSafeInteger(bytes) && bytes >= 0 && fits(bytes) ? bytes : null;
  });
}

/** One sentence says what is allowed, whatever is wrong. */
function checked<T>(allowed: string, read: (value: number | string) => T | null) {
  return z.union([z.number(), z.string()], { error: allowed }).transform((value, context): T => {
    const result = read(value);
    if (result !== null) return result;
    context.addIssue({ code: 'custom', message: allowed, input: value });
    return z.NEVER;
  });
}

function bytesOf(text: string): number {
  try {
    return parseBytes(text);
  } catch {
    return Number.NaN;
  }
}
