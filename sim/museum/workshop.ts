/**
 * Plants bugs into copies of this checkout. Shipped code has no switch for any of them, so a copy is
 * patched and compiled; what runs is the simulator of the copy. Loads nothing of the simulator itself.
 */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { DwcpError } from '../../src/util/errors.ts';

const checkout: string = fileURLToPath(new URL('../../..', import.meta.url));

export interface Copy {
  /** A compiled module of the copy, such as `sim/tools.js`. */
  readonly module: (path: string) => URL;
  readonly remove: () => void;
}

/** Copies that are there now; whatever ends this process takes them along. */
const copies = new Set<string>();
let isTidy = false;

function keepTidy(root: string): void {
  copies.add(root);
  if (isTidy) return;
  isTidy = true;
  process.on('exit', () => {
    for (const copy of copies) rmSync(copy, { recursive: true, force: true });
  });
  process.once('SIGINT', () => process.exit(130));
  process.once('SIGTERM', () => process.exit(143));
}

export function patchOf(id: string): string {
  return join(checkout, 'sim/museum/bugs', `${id}.patch`);
}

/** Whether the patch fits these sources, to the line. */
export function applies(id: string): boolean {
  const args = ['-p1', '--fuzz=0', '--dry-run', '--force', '-i', patchOf(id)];
  return spawnSync('patch', args, { cwd: checkout, stdio: 'ignore' }).status === 0;
}

export function plant(id: string): Copy {
  if (!existsSync(join(checkout, 'src')) || !existsSync(patchOf(id))) {
    throw new DwcpError('ERR_DWCP_USAGE', `no sources here to plant "${id}" in`, {
      hint: 'The museum patches and compiles the sources: run it in a checkout of the repository.',
    });
  }
  const root = mkdtempSync(join(tmpdir(), 'dwcp-museum-'));
  const remove = (): void => {
    copies.delete(root);
    rmSync(root, { recursive: true, force: true });
  };
  keepTidy(root);
  try {
    for (const name of ['src', 'sim', 'dist', 'package.json', 'tsconfig.json']) {
      copy(root, name, {});
    }
    const files = [...readPatch(id).matchAll(/^\+\+\+ b\/(\S+)/gm)].map(([, file]) => file ?? '');
    const isNative = files.some((file) => file.startsWith('native/'));
    for (const name of ['node_modules', 'build', ...(isNative ? [] : ['native'])]) {
      symlinkSync(join(checkout, name), join(root, name));
    }
    if (isNative) copy(root, 'native', { preserveTimestamps: true });
    must(root, 'patch', ['-p1', '--fuzz=0', '--force', '-i', patchOf(id)]);
    // What this checkout built is newer than all but what was patched.
    if (isNative) must(root, 'make', ['-C', 'native/build', 'BUILDTYPE=Release']);
    const sources = files.filter((file) => file.endsWith('.ts'));
    if (sources.length > 0) compile(root, sources);
  } catch (error) {
    remove();
    throw error;
  }
  return { module: (path) => pathToFileURL(join(root, 'dist', path)), remove };
}

function copy(
  root: string,
  name: string,
  options: { readonly preserveTimestamps?: boolean },
): void {
  cpSync(join(checkout, name), join(root, name), { recursive: true, ...options });
}

/**
 * Types were checked before the bug came in, so that only JavaScript is made here, and only of what was
 * patched: the rest is what this checkout made.
 */
function compile(root: string, files: readonly string[]): void {
  const project = join(root, 'tsconfig.copy.json');
  const compilerOptions = {
    ...{ noCheck: true, declaration: false, isolatedDeclarations: false, sourceMap: false },
    ...{ incremental: false, tsBuildInfoFile: null, noResolve: true },
  };
  writeFileSync(
    project,
    JSON.stringify({ extends: './tsconfig.json', compilerOptions, files, include: [] }),
  );
  must(root, process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', project]);
}

function must(cwd: string, command: string, args: readonly string[]): void {
  const run = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (run.status === 0) return;
  const why = `${run.error?.message ?? ''}${run.stdout ?? ''}${run.stderr ?? ''}`.trim();
  throw new DwcpError('ERR_DWCP_UNSUPPORTED', `${command} failed in the copy: ${why}`, {
    hint: 'The museum needs "patch" and, as set-up does, the npm packages and what builds the addon.',
  });
}

/** Which bug a replay file was recorded with; null for one of clean code. */
export function bugOfReplay(text: string): string | null {
  try {
    const bug: unknown = (JSON.parse(text) as { readonly bug?: unknown } | null)?.bug;
    return typeof bug === 'string' && /^[a-z0-9-]+$/.test(bug) ? bug : null;
  } catch {
    return null;
  }
}

function readPatch(id: string): string {
  return readFileSync(patchOf(id), 'utf8');
}
