/** A folder per QEMU under the data directory: its QMP socket, its log, and what a restarted agent must know. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DwcpError } from '../../util/errors.ts';

/** Everything about a guest that cannot be asked of a frozen process. */
export interface QemuRecord {
  readonly qmpPath: string;
  readonly memoryBytes: number;
  readonly machine: Readonly<Record<string, string>>;
  readonly args: readonly string[];
  readonly sharedDisks: readonly string[];
}

const recordSchema: z.ZodType<QemuRecord> = z.object({
  qmpPath: z.string(),
  memoryBytes: z.number().int().positive(),
  machine: z.record(z.string(), z.string()),
  args: z.array(z.string()),
  sharedDisks: z.array(z.string()),
});

const RECORD = 'guest.json';

export function makeRunDirectory(dataDir: string): string {
  const path = join(guestsDirectory(dataDir), randomBytes(4).toString('hex'));
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code ?? 'error';
    throw new DwcpError('ERR_DWCP_STORAGE', `cannot make ${path}: ${errno}`, { errno, cause });
  }
  return path;
}

export function runDirectories(dataDir: string): readonly string[] {
  try {
    return readdirSync(guestsDirectory(dataDir)).map((name) =>
      join(guestsDirectory(dataDir), name),
    );
  } catch {
    return []; // No QEMU guest was ever here.
  }
}

export function removeRunDirectory(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

export function writeRecord(runDirectory: string, record: QemuRecord): void {
  const path = join(runDirectory, RECORD);
  writeFileSync(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** The folder and the record of the guest that answers at this QMP socket; null when there is none. */
export function findRecord(
  dataDir: string,
  qmpPath: string,
): { readonly runDirectory: string; readonly record: QemuRecord } | null {
  for (const runDirectory of runDirectories(dataDir)) {
    const record = readRecord(runDirectory);
    if (record?.qmpPath === qmpPath) return { runDirectory, record };
  }
  return null;
}

function readRecord(runDirectory: string): QemuRecord | null {
  try {
    const document: unknown = JSON.parse(readFileSync(join(runDirectory, RECORD), 'utf8'));
    const checked = recordSchema.safeParse(document);
    return checked.success ? checked.data : null;
  } catch {
    return null; // Started, but never became a guest: an orphan.
  }
}

function guestsDirectory(dataDir: string): string {
  return join(dataDir, 'qemu-guests');
}
