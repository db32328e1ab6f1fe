/** The Linux guest of the demo and its QEMU, made or fetched by the scripts of this package. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { QemuBinary } from '../../node.ts';
import { DwcpError } from '../../util/errors.ts';

// Seen from dist/src/cli/demo.
const SCRIPTS = fileURLToPath(new URL('../../../../scripts/', import.meta.url));
const FETCH_WITHIN_MS = 600_000;
const MIB = 2 ** 20;

export interface LinuxGuest {
  readonly qemu: QemuBinary;
  readonly args: readonly string[];
}

export interface LinuxGuestOptions {
  /** A multiple of 1 MiB. */
  readonly memoryBytes: number;
  readonly dirtyBytesPerSec: number;
}

/** Fetches what is missing once; `args` are for StartGuest. */
export async function linuxGuest(options: LinuxGuestOptions): Promise<LinuxGuest> {
  const workload = `dwcp.dirty=${options.dirtyBytesPerSec} dwcp.fill=80`;
  return await linuxMachine('counter', options.memoryBytes, workload);
}

/** Any of the guests that scripts/guests/linux.mjs builds, without a network. */
export async function linuxMachine(
  guest: 'counter' | 'kv',
  memoryBytes: number,
  workload: string,
): Promise<LinuxGuest> {
  const { binary, args, env } = await script<QemuBinary>('qemu.mjs');
  const { kernel, initrd } = await script<{ readonly kernel: string; readonly initrd: string }>(
    'guests/linux.mjs',
    guest,
  );
  const size = `${Math.ceil(memoryBytes / MIB)}M`;
  return {
    qemu: { binary, args, env },
    args: [
      ...['-machine', 'q35,memory-backend=ram0', '-accel', 'tcg,thread=multi', '-cpu', 'max'],
      ...['-object', `memory-backend-memfd,id=ram0,size=${size},share=on`, '-m', size],
      ...['-smp', '1', '-nodefaults', '-display', 'none', '-no-reboot'],
      ...['-serial', 'file:@RUN@/serial', '-kernel', kernel, '-initrd', initrd],
      ...['-append', `console=ttyS0 panic=-1 quiet ${workload}`],
    ],
  };
}

async function script<T>(name: string, ...words: readonly string[]): Promise<T> {
  try {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [`${SCRIPTS}${name}`, ...words],
      {
        timeout: FETCH_WITHIN_MS,
      },
    );
    return JSON.parse(stdout) as T;
  } catch (cause) {
    const said = (cause as { readonly stderr?: string }).stderr?.trim() || String(cause);
    throw new DwcpError('ERR_DWCP_QEMU_MISSING', `scripts/${name}: ${said}`, { cause });
  }
}
