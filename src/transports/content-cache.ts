/** Opens a host's content cache; what can be wrong with it is said here. */
import { readFileSync, statSync } from 'node:fs';
import { NativeContentCache } from '../native.ts';
import type { ContentCacheOptions } from '../ports/content-cache.ts';
import { DwcpError } from '../util/errors.ts';

const SECRET_BYTES_MIN = 32;
const SECRET_BYTES_MAX = 4096;
const MAX_BYTES_MIN = 2 ** 20;

const HINTS: Readonly<Record<string, string>> = {
  ENOTUNIQ: 'Give each agent a cache.dir of its own.',
  EMEDIUMTYPE: 'Another version of dwcp wrote it: choose another cache.dir, or remove this one.',
  EACCES: 'Choose another cache.dir, or give back the secret it was made with.',
  ENOENT: 'Make the directory above it first.',
};

export function openContentCache(options: ContentCacheOptions): NativeContentCache {
  const { dir, maxBytes } = options;
  if (!Number.isSafeInteger(maxBytes) || maxBytes < MAX_BYTES_MIN) {
    throw new DwcpError('ERR_DWCP_CONFIG', `a content cache of ${maxBytes} bytes is too small`, {
      hint: 'Give cache.maxBytes 1MiB or more.',
    });
  }
  const secret = readSecret(options.secretFile);
  try {
    return new NativeContentCache(dir, maxBytes, secret);
  } catch (cause) {
    const { message, errno } = cause as Error & { readonly errno?: string };
    throw new DwcpError('ERR_DWCP_STORAGE', message, {
      hint: HINTS[errno ?? ''] ?? 'Choose a cache.dir that this user may write.',
      ...(errno === undefined ? {} : { errno }),
      cause,
    });
  } finally {
    secret.fill(0);
  }
}

function readSecret(path: string): Uint8Array {
  const hint = `Make one, and copy it to every host: openssl rand -hex 32 > ${path}; chmod 600 ${path}`;
  try {
    if ((statSync(path).mode & 0o077) !== 0) {
      throw new DwcpError('ERR_DWCP_IDENTITY', `others may read the secret ${path}`, {
        hint: `Run: chmod 600 ${path}`,
      });
    }
    const text = readFileSync(path, 'latin1').trim();
    if (text.length >= SECRET_BYTES_MIN && text.length <= SECRET_BYTES_MAX) {
      return Buffer.from(text, 'latin1');
    }
  } catch (cause) {
    if (cause instanceof DwcpError) throw cause;
    const errno = (cause as NodeJS.ErrnoException).code ?? 'error';
    const message = `cannot read the secret ${path}: ${errno}`;
    throw new DwcpError('ERR_DWCP_IDENTITY', message, { hint, errno, cause });
  }
  throw new DwcpError('ERR_DWCP_IDENTITY', `${path} has not ${SECRET_BYTES_MIN} bytes`, { hint });
}
