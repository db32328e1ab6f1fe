/** QMP's migration commands, as both ends use them. */
import { setTimeout as delay } from 'node:timers/promises';
import { DwcpError } from '../../util/errors.ts';
import type { Qmp } from './qmp.ts';

/** What `query-migrate` tells; absent before the first migration. */
export interface MigrationInfo {
  readonly status?: string;
  readonly 'error-desc'?: string;
  readonly ram?: {
    readonly normal: number;
    readonly duplicate: number;
    readonly remaining: number;
    readonly 'dirty-pages-rate': number;
    readonly 'dirty-sync-count': number;
    readonly 'page-size': number;
  };
}

const OVER: ReadonlySet<string> = new Set(['none', 'completed', 'failed', 'cancelled']);
const CANCEL_WITHIN_MS = 10_000;
const POLL_MS = 10;

interface SourceWishes {
  readonly byPages?: boolean;
  /** QEMU may slow the guest down once we ask for it. */
  readonly mayThrottle?: boolean;
}

interface Wishes extends SourceWishes {
  /** The stream then has a form that only QEMU reads, from its beginning. */
  readonly mayPostcopy?: boolean;
}

/** All that our stream relies on, said in full: an earlier migration may have set anything. */
export async function prepareMigration(
  qmp: Qmp,
  side: 'source' | 'destination',
  { byPages = false, mayThrottle = false, mayPostcopy = false }: Wishes = {},
): Promise<void> {
  const wanted: Record<string, boolean> = {
    'return-path': true,
    events: true,
    // The destination takes its disks only when it runs, so an abort leaves them to the source.
    'late-block-activate': side === 'destination',
    'pause-before-switchover': false,
    'postcopy-ram': mayPostcopy,
    multifd: false,
    xbzrle: false,
    'auto-converge': mayThrottle,
  };
  // From 8.1 on: a source that waits for this acknowledgement, which nobody gives, never stops its guest
  // by itself. Once we stopped it, it waits no more.
  if (await knows(qmp, 'switchover-ack')) wanted['switchover-ack'] = byPages;
  await qmp.ask('migrate-set-capabilities', {
    capabilities: Object.entries(wanted).map(([capability, state]) => ({ capability, state })),
  });
}

/**
 * QEMU slows a guest down by itself once it dirtied more than a share of what a pass sent. As long as nobody
 * asked for it, that is never and next to nothing; QEMU lets it run freely again when the migration ends.
 */
export async function throttleMigration(qmp: Qmp, percent: number): Promise<void> {
  await qmp.ask('migrate-set-parameters', {
    'throttle-trigger-threshold': percent === 0 ? 100 : 1,
    'cpu-throttle-initial': Math.max(1, percent),
    'cpu-throttle-increment': Math.max(1, percent),
    'max-cpu-throttle': Math.max(1, percent),
  });
}

export function queryMigration(qmp: Qmp): Promise<MigrationInfo> {
  return qmp.ask<MigrationInfo>('query-migrate');
}

export function isOver(info: MigrationInfo): boolean {
  return OVER.has(info.status ?? 'none');
}

/** Resolves when no migration is under way any more: QEMU refuses to run a guest before that. */
export async function endMigration(qmp: Qmp): Promise<void> {
  const deadlineMs = performance.now() + CANCEL_WITHIN_MS;
  let isCancelled = false;
  for (let info = await queryMigration(qmp); !isOver(info); info = await queryMigration(qmp)) {
    if (!isCancelled) await qmp.ask('migrate_cancel');
    isCancelled = true;
    if (performance.now() > deadlineMs) {
      throw new DwcpError(
        'ERR_DWCP_TIMEOUT',
        `QEMU's migration is still "${info.status}" after it was cancelled`,
        { hint: 'The guest is not started while that lasts; look at it with query-migrate.' },
      );
    }
    await delay(POLL_MS);
  }
}

export async function isRunning(qmp: Qmp): Promise<boolean> {
  return (await qmp.ask<{ readonly running: boolean }>('query-status')).running;
}

async function knows(qmp: Qmp, capability: string): Promise<boolean> {
  const all = await qmp.ask<readonly { readonly capability: string }[]>(
    'query-migrate-capabilities',
  );
  return all.some((one) => one.capability === capability);
}
