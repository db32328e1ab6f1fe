/** What must be so before a running QEMU may be moved. */
import { DwcpError } from '../../util/errors.ts';
import type { Qmp } from './qmp.ts';

interface BlockInfo {
  readonly device: string;
  readonly qdev?: string;
  readonly inserted?: { readonly file: string; readonly ro: boolean };
}

/** Refuses a disk that the guest writes and the destination would not have. */
export async function checkDisks(qmp: Qmp, shared: ReadonlySet<string>): Promise<void> {
  for (const block of await qmp.ask<readonly BlockInfo[]>('query-block')) {
    const medium = block.inserted;
    if (medium === undefined || medium.ro || shared.has(medium.file)) continue;
    throw new DwcpError(
      'ERR_DWCP_LOCAL_DISK',
      `disk "${block.device || block.qdev}" writes to ${medium.file}, which is not declared shared`,
      {
        hint: 'Put it on storage that both hosts see and declare it shared, or make it read-only.',
      },
    );
  }
}

/** The machine type by its versioned name, and the RAM size. */
export async function describeMachine(
  qmp: Qmp,
): Promise<{ readonly memoryBytes: number; readonly machine: Readonly<Record<string, string>> }> {
  const memory = await qmp.ask<{ readonly 'base-memory': number }>('query-memory-size-summary');
  const type = await qmp.ask<string>('qom-get', { path: '/machine', property: 'type' });
  const cpus = await qmp.ask<readonly { readonly 'qom-type'?: string }[]>('query-cpus-fast');
  return {
    memoryBytes: memory['base-memory'],
    machine: { machine: type, cpu: `${cpus[0]?.['qom-type']} x ${cpus.length}` },
  };
}
