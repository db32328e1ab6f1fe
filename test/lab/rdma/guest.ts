/**
 * A guest of Debian's stock kernel with a soft-RoCE device, and one command in it. Its root is the host's, seen
 * read-only with a layer in the guest's memory over it, so the command finds the checkout and every program
 * where they are. QEMU emulates the CPU: things are right in there, and slow.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex, Readable } from 'node:stream';
import { DwcpError } from '../../../src/util/errors.ts';
import { encodeRequest, FrameReader, type GuestFrame, type GuestRequest } from './frames.ts';

export interface Machine {
  readonly qemu: {
    readonly binary: string;
    readonly args: readonly string[];
    readonly env: Readonly<Record<string, string>>;
  };
  readonly kernel: string;
  readonly initrd: string;
  readonly memoryMib: number;
}

export interface GuestRun extends GuestRequest {
  /** From the moment at which the command begins. */
  readonly limitMs: number;
  readonly onOutput: (stream: 'stdout' | 'stderr', bytes: Uint8Array) => void;
}

export interface GuestHandle {
  /**
   * What a shell would give: the command's own status, 124 when time is up. Fails when the guest does not
   * boot or dies under its command.
   */
  readonly status: Promise<number>;
  /** Ends the guest at once, whatever it does. */
  kill(): void;
}

export const TIME_UP_STATUS = 124;
/** An emulated machine dies now and then while it boots on a busy host: of two CPUs one runs stale code. */
const BOOTS_MAX = 3;
const BOOT_LIMIT_MS = 150_000;
const CONSOLE_TAIL_CHARS = 2000;

export function runInGuest(machine: Machine, run: GuestRun): GuestHandle {
  let current: Boot | null = null;
  let isKilled = false;
  const attempt = async (): Promise<number> => {
    for (let boots = 1; ; boots += 1) {
      current = new Boot(machine, run);
      const end = await current.end;
      if (end.status !== null) return end.status;
      if (isKilled || end.hasBegun || boots === BOOTS_MAX) {
        throw new DwcpError('ERR_DWCP_UNSUPPORTED', `the lab's guest ${end.why}`, {
          hint: `Its console said last:\n${end.console}`,
        });
      }
    }
  };
  return {
    status: attempt(),
    kill: () => {
      isKilled = true;
      current?.kill();
    },
  };
}

interface BootEnd {
  readonly status: number | null;
  readonly hasBegun: boolean;
  readonly why: string;
  readonly console: string;
}

/** One life of the emulator. */
class Boot {
  readonly end: Promise<BootEnd>;
  readonly #process: ChildProcess;
  readonly #run: GuestRun;
  readonly #frames = new FrameReader();
  #limit: NodeJS.Timeout;
  #status: number | null = null;
  #hasBegun = false;
  #why = 'went away';
  #console = '';

  constructor(machine: Machine, run: GuestRun) {
    this.#run = run;
    const [command = '', ...args] = commandOf(machine, run);
    this.#process = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...machine.qemu.env },
    });
    this.#limit = setTimeout(() => this.#bootIsLate(), BOOT_LIMIT_MS);
    const [, output, errors, port] = this.#process.stdio as unknown as [null, ...Readable[]];
    for (const each of [output, errors]) {
      each?.setEncoding('latin1').on('data', (text: string) => this.#heard(text));
    }
    (port as Duplex).on('error', () => undefined); // What follows is the end of the process.
    (port as Duplex).on('data', (bytes: Uint8Array) => this.#read(bytes));
    (port as Duplex).write(encodeRequest(run));
    this.end = new Promise((resolve) => {
      const ended = (): void => {
        clearTimeout(this.#limit);
        resolve({
          ...{ status: this.#status, hasBegun: this.#hasBegun },
          ...{ why: this.#why, console: this.#console },
        });
      };
      this.#process.once('error', (error) => {
        this.#why = `did not start: ${error.message}`;
        ended();
      });
      this.#process.once('close', ended);
    });
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }

  #bootIsLate(): void {
    this.#why = 'did not boot in time';
    this.kill();
  }

  #begin(): void {
    this.#hasBegun = true;
    clearTimeout(this.#limit);
    this.#limit = setTimeout(() => this.#endWith(TIME_UP_STATUS), this.#run.limitMs);
  }

  #endWith(status: number): void {
    this.#status = status;
    this.kill();
  }

  #heard(text: string): void {
    this.#console = `${this.#console}${text}`.slice(-CONSOLE_TAIL_CHARS);
  }

  #read(bytes: Uint8Array): void {
    try {
      for (const frame of this.#frames.read(bytes)) this.#take(frame);
    } catch (error) {
      this.#why = `makes no sense: ${(error as Error).message}`;
      this.kill();
    }
  }

  #take(frame: GuestFrame): void {
    if (frame.kind === 'begun') this.#begin();
    else if (frame.kind === 'ended') this.#endWith(frame.status);
    else if (this.#hasBegun) this.#run.onOutput(frame.kind, frame.bytes);
    else this.#heard(Buffer.from(frame.bytes).toString('latin1'));
  }
}

/** It dies with us, however we end, and so leaves nothing behind: everything it has is a descriptor of ours. */
function commandOf(machine: Machine, run: GuestRun): readonly string[] {
  const { qemu, kernel, initrd, memoryMib } = machine;
  const share = (id: string, path: string, ...options: readonly string[]) => [
    '-fsdev',
    [`local,id=${id},path=${path.replaceAll(',', ',,')}`, ...options, 'multidevs=remap'].join(','),
    ...['-device', `virtio-9p-pci,fsdev=${id},mount_tag=${id}`],
  ];
  return [
    ...['setpriv', '--pdeathsig', 'KILL', qemu.binary, ...qemu.args],
    ...['-M', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2'],
    ...['-m', `${memoryMib}`, '-nodefaults', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
    ...['-kernel', kernel, '-initrd', initrd],
    // On a busy host the timer's own check fails now and then.
    ...['-append', 'console=ttyS0 panic=-1 quiet no_timer_check'],
    // First, so that the guest knows its name: the device of the first virtio device's first port.
    ...['-chardev', 'socket,id=lab,fd=3', '-device', 'virtio-serial-pci'],
    ...['-device', 'virtserialport,chardev=lab,nr=1'],
    ...share('host', '/', 'readonly=on', 'security_model=none'),
    ...share('exchange', run.exchange, 'security_model=none'),
  ];
}
