/**
 * Which guest processes this data directory started, a file beside each control socket. It is there
 * before the guest answers, so that a crash of the agent leaves no process that nobody knows; and it
 * describes the process, because a frozen one cannot be asked.
 */
import { readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { descriptionSchema, type GuestProcess } from './control.ts';

export interface GuestFile {
  readonly name: string;
  readonly pid: number;
  readonly startTicks: number;
  /** Null until the guest first answered. */
  readonly process: GuestProcess | null;
}

export interface FoundGuest extends GuestFile {
  readonly socketPath: string;
}

const schema: z.ZodType<GuestFile> = z.object({
  name: z.string(),
  pid: z.number().int().positive(),
  startTicks: z.number().int().nonnegative(),
  process: descriptionSchema.nullable(),
});

export function guestDirectory(dataDir: string): string {
  return join(dataDir, 'memory-guests');
}

/** Not synced: it is about a process, and neither outlives the other's kernel. */
export function writeGuestFile(socketPath: string, file: GuestFile): void {
  const path = pathOf(socketPath);
  writeFileSync(`${path}.new`, `${JSON.stringify(file)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Null when there is none, or one that was not written by us. */
export function readGuestFile(socketPath: string): GuestFile | null {
  try {
    return schema.parse(JSON.parse(readFileSync(pathOf(socketPath), 'utf8')));
  } catch {
    return null;
  }
}

export function removeGuestFiles(socketPath: string): void {
  for (const path of [socketPath, pathOf(socketPath)]) {
    try {
      unlinkSync(path);
    } catch {
      // Gone already: that is what was wanted.
    }
  }
}

export function listGuestFiles(dataDir: string): readonly FoundGuest[] {
  const directory = guestDirectory(dataDir);
  let names: readonly string[];
  try {
    names = readdirSync(directory);
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    if (!name.endsWith('.pid')) return [];
    const socketPath = join(directory, name.replace(/\.pid$/, '.sock'));
    const file = readGuestFile(socketPath);
    return file === null ? [] : [{ ...file, socketPath }];
  });
}

function pathOf(socketPath: string): string {
  return socketPath.replace(/\.sock$/, '.pid');
}
