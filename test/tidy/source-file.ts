/**
 * A source file as the tidy rules see it: its imports, and its code with comments and the insides of
 * strings blanked, so that a word in prose never counts as a use. The compiler in use offers no
 * parser to JavaScript; this scanner knows just enough of the language for the rules.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface SourceFile {
  /** Relative to the checkout, such as `src/util/assert.ts`. */
  readonly path: string;
  readonly text: string;
  readonly code: string;
  readonly imports: readonly Import[];
}

export interface Import {
  /** As written, such as `node:fs` or `../util/assert.ts`. */
  readonly specifier: string;
  /** A path of the checkout, when the specifier is relative. */
  readonly target: string | null;
  /** Erased by the compiler: it creates no dependency when the program runs. */
  readonly typeOnly: boolean;
}

/** From `dist/test/tidy` to the checkout. */
export const checkout: string = join(dirname(fileURLToPath(import.meta.url)), '../../..');

export function readSources(folder: string, extensions: readonly string[]): SourceFile[] {
  let names: string[];
  try {
    names = readdirSync(join(checkout, folder), { recursive: true, encoding: 'utf8' });
  } catch {
    return []; // sim/ comes with a later part of the project
  }
  return names
    .filter((name) => extensions.some((extension) => name.endsWith(extension)))
    .filter((name) => !`${folder}/${name}`.startsWith('native/build/'))
    .map((name) => `${folder}/${name}`)
    .sort()
    .map((path) => sourceFile(path, readFileSync(join(checkout, path), 'utf8')));
}

export function sourceFile(path: string, text: string): SourceFile {
  const { code, strings } = scan(text);
  return { path, text, code, imports: findImports(path, code, strings) };
}

/** `import type ... from`, `import { ... } from`, `export ... from`, `import '...'`, `import('...')`. */
const IMPORT = /\b(?:(?:import|export)\s+(type\s+)?[\w$*\s{},]*?\bfrom\s*|import\s*\(?\s*)["']/g;

function findImports(path: string, code: string, strings: ReadonlyMap<number, string>): Import[] {
  const imports: Import[] = [];
  for (const match of code.matchAll(IMPORT)) {
    const specifier = strings.get(match.index + match[0].length - 1);
    if (specifier === undefined) continue;
    const relative = specifier.startsWith('.');
    imports.push({
      specifier,
      target: relative ? normalize(join(dirname(path), specifier)) : null,
      typeOnly: match[1] !== undefined,
    });
  }
  return imports;
}

interface Scan {
  /** Same length and lines as the text. */
  readonly code: string;
  /** What each string literal says, by the offset of its opening quote. */
  readonly strings: ReadonlyMap<number, string>;
}

function scan(text: string): Scan {
  const out = text.split('');
  const strings = new Map<number, string>();
  /** Brace depth at which each open `${` of a template began. */
  const templates: number[] = [];
  let depth = 0;
  let at = 0;
  const blank = (from: number, to: number): void => {
    for (let i = from; i < to && i < out.length; i += 1) if (out[i] !== '\n') out[i] = ' ';
  };
  const templateText = (from: number): number => {
    let end = from;
    while (end < text.length && text[end] !== '`' && !text.startsWith('${', end)) {
      end += text[end] === '\\' ? 2 : 1;
    }
    blank(from, end);
    if (text[end] !== '$') return end + 1;
    templates.push(depth);
    depth += 1;
    return end + 2;
  };
  while (at < text.length) {
    const char = text[at];
    if (text.startsWith('//', at) || text.startsWith('/*', at)) {
      const line = text[at + 1] === '/';
      const found = text.indexOf(line ? '\n' : '*/', at + 2);
      const end = found < 0 ? text.length : found + (line ? 0 : 2);
      blank(at, end);
      at = end;
    } else if (char === '/' && startsRegExp(out, at)) {
      const end = endOfRegExp(text, at);
      blank(at + 1, end);
      at = end + 1;
    } else if (char === "'" || char === '"') {
      let end = at + 1;
      while (end < text.length && text[end] !== char) end += text[end] === '\\' ? 2 : 1;
      strings.set(at, text.slice(at + 1, end));
      blank(at + 1, end);
      at = end + 1;
    } else if (char === '`') {
      at = templateText(at + 1);
    } else {
      if (char === '{') depth += 1;
      if (char === '}') depth -= 1;
      at += 1;
      if (char === '}' && templates.at(-1) === depth) {
        templates.pop();
        at = templateText(at);
      }
    }
  }
  return { code: out.join(''), strings };
}

/** A slash divides after a value and opens a regular expression anywhere else. */
function startsRegExp(out: readonly string[], at: number): boolean {
  let before = at - 1;
  while (before >= 0 && /\s/.test(out[before] ?? '')) before -= 1;
  const char = out[before];
  return char === undefined || '(,=:[!&|?{};>'.includes(char);
}

function endOfRegExp(text: string, at: number): number {
  let inClass = false;
  let end = at + 1;
  while (end < text.length && text[end] !== '\n' && (inClass || text[end] !== '/')) {
    if (text[end] === '[') inClass = true;
    if (text[end] === ']') inClass = false;
    end += text[end] === '\\' ? 2 : 1;
  }
  return end;
}
