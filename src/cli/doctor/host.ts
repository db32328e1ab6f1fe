/**
 * What the doctor asks of a machine. Its probes see nothing else, so that a test can give them any
 * machine it likes.
 */
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { probeWriteTracking, type RdmaPorts, rdmaPorts } from '../../native.ts';
import type { KernelTracking } from '../../ports/memory.ts';

const PATIENCE_MS = 5_000;

export interface DoctorHost {
  readonly nodeVersion: string;
  readonly kernelRelease: string;
  readonly isRoot: boolean;
  readonly cpuModels: readonly string[];
  /** Trimmed; null where there is no such file or it may not be read. */
  readText(path: string): string | null;
  /** Entries of a folder, none where there is none. */
  names(path: string): readonly string[];
  /** For reading and writing. */
  access(path: string): 'usable' | 'denied' | 'absent';
  run(program: Program): ProgramEnd;
  /** Free bytes and the kind of the file system that holds `path`; null where there is no such path. */
  fileSystem(path: string): FileSystem | null;
  /** Throws what the kernel refused. */
  tryWriteTracking(backend: KernelTracking): void;
  /** What the libraries see, which is not all that the kernel has. */
  rdmaPorts(): RdmaPorts;
  /** Makes a group below `parent`, freezes it and removes it: null, or the code of what was refused. */
  tryFreezer(parent: string): string | null;
}

export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

export interface ProgramEnd {
  /** Ended by itself with 0. */
  readonly succeeded: boolean;
  readonly output: string;
  readonly errors: string;
}

export interface FileSystem {
  readonly freeBytes: number;
  readonly type: number;
}

export function thisHost(): DoctorHost {
  return {
    nodeVersion: process.version,
    kernelRelease: release(),
    isRoot: process.getuid?.() === 0,
    cpuModels: cpus().map((cpu) => cpu.model),
    readText: (path) => orNull(() => readFileSync(path, 'utf8').trim()),
    names: (path) => orNull(() => readdirSync(path)) ?? [],
    access: accessOf,
    run: runProgram,
    fileSystem: (path) =>
      orNull(() => {
        const { bavail, bsize, type } = statfsSync(path);
        return { freeBytes: bavail * bsize, type };
      }),
    tryWriteTracking: probeWriteTracking,
    rdmaPorts,
    tryFreezer: freezeGroup,
  };
}

function accessOf(path: string): 'usable' | 'denied' | 'absent' {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return 'usable';
  } catch (error) {
    return codeOf(error) === 'ENOENT' ? 'absent' : 'denied';
  }
}

/** Another program may hang; the doctor does not. */
function runProgram(program: Program): ProgramEnd {
  const result = spawnSync(program.command, program.args, {
    encoding: 'utf8',
    timeout: PATIENCE_MS,
    killSignal: 'SIGKILL',
    input: program.input ?? '',
    env: { ...process.env, ...program.environment },
  });
  const succeeded = result.error === undefined && result.status === 0;
  return { succeeded, output: result.stdout ?? '', errors: result.stderr ?? '' };
}

function freezeGroup(parent: string): string | null {
  const group = join(parent, `dwcp-doctor-${process.pid}`);
  try {
    mkdirSync(group);
  } catch (error) {
    return codeOf(error);
  }
  try {
    writeFileSync(join(group, 'cgroup.freeze'), '1');
    return null;
  } catch (error) {
    return codeOf(error);
  } finally {
    rmdirSync(group);
  }
}

function orNull<T>(work: () => T): T | null {
  try {
    return work();
  } catch {
    return null;
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
