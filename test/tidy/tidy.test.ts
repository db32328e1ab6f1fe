import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { importCycles, layerProblems } from './layers.ts';
import {
  leftoverProblems,
  nativeBoundaryProblems,
  purityProblems,
  sizeProblems,
  syntaxProblems,
} from './rules.ts';
import { readSources, type SourceFile, sourceFile } from './source-file.ts';

const product = [...readSources('src', ['.ts']), ...readSources('sim', ['.ts'])];
const typescript = [
  ...product,
  ...['bench', 'test', 'examples'].flatMap((folder) => readSources(folder, ['.ts'])),
];
const everything = [
  ...typescript,
  ...readSources('native', ['.cc', '.h']),
  ...readSources('bench', ['.cc']),
  ...readSources('scripts', ['.mjs']),
];

type Rule = (file: SourceFile) => string[];

function assertClean(rule: Rule, files: readonly SourceFile[]): void {
  assert.ok(files.length > 0, 'the rule looked at no file');
  assert.deepEqual(files.flatMap(rule), []);
}

function assertRefused(rule: Rule, path: string, samples: readonly string[]): void {
  for (const sample of samples) {
    assert.notDeepEqual(rule(sourceFile(path, sample)), [], `not refused in ${path}: ${sample}`);
  }
}

function assertAllowed(rule: Rule, path: string, samples: readonly string[]): void {
  for (const sample of samples) assert.deepEqual(rule(sourceFile(path, sample)), []);
}

describe('layers', () => {
  it('point only downwards', () => assertClean(layerProblems, product));

  it('would refuse an arrow that points up', () => {
    assertRefused(layerProblems, 'src/util/a.ts', ["import type { B } from '../ports/b.ts';"]);
    assertRefused(layerProblems, 'src/ports/a.ts', [
      "import { b } from '../util/b.ts';",
      "import type { B } from '../actors/b.ts';",
      'export function work() {}',
    ]);
    assertRefused(layerProblems, 'src/protocols/deep/a.ts', [
      "import { b } from '../../actors/b.ts';",
      "import {\n  b,\n} from '../../transports/b.ts';",
      "export { b } from '../../native.ts';",
      "const b = import('../../storage/b.ts');",
    ]);
    assertRefused(layerProblems, 'src/hypervisors/a.ts', ["import { b } from '../actors/b.ts';"]);
    assertRefused(layerProblems, 'src/actors/a.ts', ["import { b } from '../cli/b.ts';"]);
    assertRefused(layerProblems, 'sim/a.ts', [
      "import { d } from '../src/storage/node-disk.ts';",
      "import { b } from '../src/transports/b.ts';",
    ]);
    assertRefused(layerProblems, 'src/storage/raft-log/a.ts', ["import { open } from 'node:fs';"]);
    assertRefused(layerProblems, 'src/attic/a.ts', ['export const a = 1;']);
  });

  it('would allow an arrow that points down', () => {
    assertAllowed(layerProblems, 'src/protocols/deep/a.ts', [
      "import { assert } from '../../util/assert.ts';\nimport type { P } from '../../ports/p.ts';",
      "import { dwcp } from '#wire';",
    ]);
    assertAllowed(layerProblems, 'src/util/a.ts', ["// import { b } from '../actors/b.ts';"]);
  });

  it('have no import cycle', () => assert.deepEqual(importCycles(typescript), []));

  it('would refuse an import cycle, and ignore one of types', () => {
    const cycle = (keyword: string): SourceFile[] => [
      sourceFile('src/a.ts', "import { b } from './b.ts';"),
      sourceFile('src/b.ts', "export { c } from './c.ts';"),
      sourceFile('src/c.ts', `${keyword} { a } from './a.ts';`),
    ];
    assert.equal(importCycles(cycle('import')).length, 1);
    assert.deepEqual(importCycles(cycle('import type')), []);
  });
});

describe('protocol cores', () => {
  it('are pure', () => assertClean(purityProblems, product));

  it('would be refused for every impurity', () => {
    assertRefused(purityProblems, 'src/protocols/a.ts', [
      "import { readFileSync } from 'node:fs';",
      "import { Subject } from 'rxjs';",
      'const now = Date.now();',
      'const now = performance.now();',
      'const dice = Math.random();',
      'const id = crypto.randomUUID();',
      'setTimeout(go, 1);',
      'const later = async () => 1;',
      'const bytes = Buffer.alloc(1);',
      'const home = process.env;',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a sample of code
      'const text = `now ${Date.now()} then`;',
    ]);
  });

  it('may speak of impurity in comments and strings', () => {
    assertAllowed(purityProblems, 'src/protocols/a.ts', [
      '/** Unlike Date, nowUs is virtual. */',
      "const hint = 'no Buffer here'; // nor setTimeout",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a sample of code
      'const text = `Date ${name} Buffer`;',
      'const quote = /[\'"]/; const more = 1;',
    ]);
  });
});

describe('every file', () => {
  it('leaves the addon to src/native/addon.ts', () => {
    assertClean(nativeBoundaryProblems, product);
    const load = "const addon = require('../native/build/Release/dwcp.node');";
    assertRefused(nativeBoundaryProblems, 'src/actors/a.ts', [load]);
    assertRefused(nativeBoundaryProblems, 'src/native.ts', [load]);
    assertAllowed(nativeBoundaryProblems, 'src/native/addon.ts', [load]);
  });

  it('is short enough to be read', () => {
    assertClean(sizeProblems, everything);
    assertRefused(sizeProblems, 'src/a.ts', ['x\n'.repeat(601)]);
    assertAllowed(sizeProblems, 'src/a.ts', ['x\n'.repeat(600)]);
  });

  it('leaves nothing for later', () => {
    assertClean(leftoverProblems, everything);
    assertRefused(leftoverProblems, 'src/a.ts', [
      `// ${'TO'}${'DO'}: think`,
      `/* ${'FIX'}${'ME'} */`,
    ]);
  });

  it('uses named exports, no enum, and runs every test', () => {
    assertClean(syntaxProblems, typescript);
    assertRefused(syntaxProblems, 'src/a.ts', [
      'export default function a() {}',
      'export enum Colour { Red }',
      'const enum Colour { Red }',
      "it.skip('later', () => {});",
      "describe.only('mine', () => {});",
    ]);
    assertAllowed(syntaxProblems, 'src/a.ts', ["const text = 'export default';"]);
  });
});
