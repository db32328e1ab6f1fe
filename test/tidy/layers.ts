/**
 * Who may import whom: design section 2 as a table. A folder that is not listed is refused, so that
 * a new one gets its row on purpose.
 */
import type { SourceFile } from './source-file.ts';

/** `src/native` is the file `src/native.ts` with its folder, whose `addon.ts` alone loads the addon. */
const ARROWS: ReadonlyMap<string, readonly string[]> = new Map([
  ['src/util', []],
  // Types only, of what the ports carry: `ports` has no code to call anything with.
  ['src/ports', ['src/util', 'src/protocols']],
  ['src/protocols', ['src/util', 'src/ports', '#wire']],
  ['src/storage', ['src/util', 'src/ports', 'src/protocols', '#wire']],
  ['src/native', ['src/util', 'src/ports']],
  ['src/transports', ['src/util', 'src/ports', 'src/native', 'src/identity', '#wire']],
  ['src/hypervisors', ['src/util', 'src/ports', 'src/protocols', 'src/native', '#wire']],
  ['src/identity', ['src/util', 'src/ports']],
  ['src/system', ['src/util', 'src/ports']],
  [
    'src/actors',
    [
      ...['src/util', 'src/ports', 'src/protocols', 'src/storage', 'src/native', 'src/node'],
      ...['src/transports', 'src/hypervisors', 'src/identity', 'src/system', '#wire'],
    ],
  ],
  ['src/node', ['src/util', 'src/ports']],
  ['src/raft', ['src/util', 'src/ports', 'src/protocols']],
  ['src/index', ['src/*', '#wire']],
  ['src/agent', ['src/*', '#wire']],
  ['src/cli', ['src/*', 'bench', 'sim', '#wire']],
  [
    'sim',
    // Of native code only the rules of the link core, which are as pure as what is in protocols.
    [
      ...['src/util', 'src/ports', 'src/protocols', 'src/storage', 'src/actors', 'src/native'],
      ...['src/node', '#wire'],
    ],
  ],
]);

/** All else of `src/storage` runs in simulations too. */
const REAL_STORAGE: ReadonlySet<string> = new Set([
  'src/storage/node-disk.ts',
  'src/storage/data-directory-lock.ts',
]);

export function layerProblems(file: SourceFile): string[] {
  const from = layerOf(file.path);
  const allowed = ARROWS.get(from);
  if (allowed === undefined) return [`${file.path}: folder ${from} has no row in the layer table`];
  const problems: string[] = [];
  if (from === 'src/ports' && /\b(?:function|class)\b|=>\s*\{/.test(file.code)) {
    problems.push(`${file.path}: ports are interfaces and constants, without code`);
  }
  for (const { specifier, target, typeOnly } of file.imports) {
    const to = target === null ? specifier : layerOf(target);
    if (from === 'src/storage' && specifier.startsWith('node:') && !REAL_STORAGE.has(file.path)) {
      problems.push(
        `${file.path}: formats and recovery run over the Disk port, without ${specifier}`,
      );
    }
    if (target === null && specifier !== '#wire') continue; // packages: see purity
    const known = to === from || allowed.includes(to);
    const wildcard = allowed.includes('src/*') && to.startsWith('src/');
    if (!known && !wildcard) problems.push(`${file.path}: ${from} may not import ${specifier}`);
    if (!typeOnly && from === 'src/ports') {
      problems.push(`${file.path}: ports may import only types: ${specifier}`);
    }
    if (from === 'sim' && target?.endsWith('/node-disk.ts') === true) {
      problems.push(`${file.path}: a simulation never touches the real disk`);
    }
  }
  return problems;
}

export function layerOf(path: string): string {
  const [first, second] = path.split('/');
  if (first !== 'src' || second === undefined) return first ?? '';
  return `src/${second.replace(/\.(?:d\.)?ts$/, '')}`;
}

/** Cycles among imports that remain at run time, each reported once, at its first file. */
export function importCycles(files: readonly SourceFile[]): string[] {
  const graph = new Map(
    files.map((file) => [
      file.path,
      file.imports.flatMap(({ target, typeOnly }) =>
        target !== null && !typeOnly ? [target] : [],
      ),
    ]),
  );
  const done = new Set<string>();
  const problems: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      problems.push(`import cycle: ${[...trail.slice(start), path].join(' -> ')}`);
      return;
    }
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return problems;
}
