/** The addon's only importer. Native code throws a message and an errno; the coded error is made here. */
import { createRequire } from 'node:module';
import { DwcpError } from '../util/errors.ts';
import type { CacheAddon } from './cache.ts';
import type { CodecAddon } from './codec.ts';
import type { EngineAddon } from './engine.ts';
import type { MemoryAddon } from './memory.ts';
import type { QemuAddon } from './qemu.ts';
import type { RdmaAddon } from './rdma.ts';

type Addon = MemoryAddon & EngineAddon & CodecAddon & CacheAddon & QemuAddon & RdmaAddon;

// Seen from dist/src/native/addon.js.
const ADDON_PATH = '../../../native/build/Release/dwcp.node';

export const addon: Addon = load();

function load(): Addon {
  try {
    return createRequire(import.meta.url)(ADDON_PATH) as Addon;
  } catch (cause) {
    throw new DwcpError('ERR_DWCP_NATIVE', `the native addon does not load: ${String(cause)}`, {
      hint: 'Build it on this machine: "npm run build" in a checkout, "npm rebuild dwcp" where dwcp is installed.',
      cause,
    });
  }
}

/** Gives native failures their code; a TypeError is a bug of ours and passes as it is. */
export function coded<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof Error) || cause instanceof TypeError) throw cause;
    const errno = (cause as Error & { readonly errno?: unknown }).errno;
    throw new DwcpError('ERR_DWCP_NATIVE', cause.message, {
      cause,
      ...(typeof errno === 'string' ? { errno } : {}),
    });
  }
}
