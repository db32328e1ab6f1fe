/** What went wrong with a file, with its errno and what the operator can do about it. */
import { DwcpError } from '../util/errors.ts';

const HINTS: ReadonlyMap<string, string> = new Map([
  ['ENOSPC', 'Free some space on that file system.'],
  ['EDQUOT', 'Raise the disk quota of the user that runs the agent.'],
  ['EACCES', 'Give the user that runs the agent read and write permission there.'],
  ['EROFS', 'The file system is read-only: choose another data directory or remount it.'],
  ['ENOTDIR', 'A file stands where the data directory should be: choose another path.'],
]);

export function codeOf(error: unknown): string | null {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === 'string' ? code : null;
}

export function storageError(directory: string, error: unknown): DwcpError {
  if (error instanceof DwcpError) return error;
  const errno = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  const path = (error as { path?: unknown } | null)?.path;
  const where = typeof path === 'string' ? path : directory;
  return new DwcpError('ERR_DWCP_STORAGE', `data directory ${directory}: ${message} (${where})`, {
    cause: error,
    ...(errno === null ? {} : { errno }),
    hint: HINTS.get(errno ?? '') ?? `Check the file system that holds ${directory}.`,
  });
}
