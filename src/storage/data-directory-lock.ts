/**
 * One node per data directory. The lock is an abstract unix socket named by the directory's device
 * and inode: the kernel drops it with the process, so no crash leaves a stale lock behind, and a
 * second path to the same directory meets the same lock.
 */
import { mkdir, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { DwcpError } from '../util/errors.ts';
import { storageError } from './storage-error.ts';

export interface DataDirectoryLock {
  release(): Promise<void>;
}

/** Makes the directory when it is missing. */
export async function lockDataDirectory(path: string): Promise<DataDirectoryLock> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw storageError(path, error);
  }
  const { dev, ino } = await stat(path, { bigint: true });
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const isTaken = error.code === 'EADDRINUSE';
      reject(
        new DwcpError(
          'ERR_DWCP_STORAGE',
          isTaken ? `data directory ${path} is in use by another node` : error.message,
          {
            cause: error,
            hint: 'Stop the other agent, or give this one a data directory of its own.',
          },
        ),
      );
    });
    server.listen(`\0dwcp-data-${dev}-${ino}`, () => resolve());
  });
  server.unref();
  return { release: () => closeServer(server) };
}

function closeServer(server: Server): Promise<void> {
  if (!server.listening) return Promise.resolve();
  return new Promise((resolve) => server.close(() => resolve()));
}
