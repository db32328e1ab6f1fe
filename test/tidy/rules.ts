/** Rules about one file each: purity of the cores, the native boundary, size, leftovers, syntax. */
import type { SourceFile } from './source-file.ts';

const LINES_MAX = 600;

/** What a core may not touch; the answer says where it comes from instead. */
const IMPURE: readonly { readonly what: RegExp; readonly instead: string }[] = [
  { what: /\bDate\b/, instead: 'time enters a core as nowUs' },
  { what: /\bperformance\b/, instead: 'time enters a core as nowUs' },
  { what: /\bMath\s*\.\s*random\b/, instead: 'chance is a labelled random stream' },
  { what: /\bcrypto\b/, instead: 'chance is a labelled random stream' },
  {
    what: /\b(?:setTimeout|setInterval|setImmediate|queueMicrotask|clearTimeout|clearInterval)\b/,
    instead: 'a core asks for timers with an effect',
  },
  { what: /\b(?:async|await|Promise)\b/, instead: 'a core returns effects and never waits' },
  { what: /\bBuffer\b/, instead: 'a core works on Uint8Array' },
  { what: /\b(?:process|globalThis|require)\b/, instead: 'a core has no environment' },
];

export function purityProblems(file: SourceFile): string[] {
  if (!file.path.startsWith('src/protocols/')) return [];
  const problems = file.imports
    .filter(({ specifier, target }) => target === null && specifier !== '#wire')
    .map(({ specifier }) => `${file.path}: a core may not import ${specifier}`);
  for (const { what, instead } of IMPURE) {
    const found = what.exec(file.code);
    if (found === null) continue;
    problems.push(`${file.path}:${lineOf(file.code, found.index)}: ${found[0]}: ${instead}`);
  }
  return problems;
}

export function nativeBoundaryProblems(file: SourceFile): string[] {
  if (file.path === 'src/native/addon.ts') return [];
  const mentions = [...file.imports.map(({ specifier }) => specifier), ...stringsOf(file)];
  return mentions.some((text) => /\.node$/.test(text))
    ? [`${file.path}: only src/native/addon.ts loads the addon`]
    : [];
}

export function sizeProblems(file: SourceFile): string[] {
  const lines = file.text.split('\n').length - 1;
  return lines > LINES_MAX ? [`${file.path}: ${lines} lines, at most ${LINES_MAX}`] : [];
}

// Written apart so that this file does not trip over itself.
const LEFTOVER = new RegExp(
  `\\b(?:${['TO', 'FIX', 'X'].map((a, i) => a + ['DO', 'ME', 'XX'][i]).join('|')})\\b`,
);

export function leftoverProblems(file: SourceFile): string[] {
  const found = LEFTOVER.exec(file.text);
  return found === null
    ? []
    : [`${file.path}:${lineOf(file.text, found.index)}: finish it or open an issue: ${found[0]}`];
}

export function syntaxProblems(file: SourceFile): string[] {
  const problems: string[] = [];
  const refuse = (what: RegExp, why: string): void => {
    const found = what.exec(file.code);
    if (found !== null) problems.push(`${file.path}:${lineOf(file.code, found.index)}: ${why}`);
  };
  refuse(/^\s*export\s+default\b/m, 'name every export');
  refuse(
    /^\s*(?:export\s+)?(?:declare\s+)?(?:const\s+)?enum\s+\w/m,
    'a union of strings, not an enum',
  );
  refuse(/\bit\s*\.\s*skip\b|\btest\s*\.\s*skip\b|\bdescribe\s*\.\s*skip\b/, 'no skipped tests');
  refuse(/\b(?:it|test|describe)\s*\.\s*only\b/, 'no test may hide the others');
  return problems;
}

function stringsOf(file: SourceFile): string[] {
  return [...file.text.matchAll(/(['"`])([^'"`\n]*)\1/g)].map((match) => match[2] ?? '');
}

function lineOf(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}
