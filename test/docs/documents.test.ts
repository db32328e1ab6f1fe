/** What the documents name exists: a newcomer types it as it stands there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const checkout = fileURLToPath(new URL('../../../', import.meta.url));
const DOCUMENTS = ['README.md', 'CONTRIBUTING.md', 'docs/ARCHITECTURE.md', 'docs/GLOSSARY.md'];
/** Built, not written. */
const BUILT = /^(?:dist|build|native\/build)\//;

function read(path: string): string {
  return readFileSync(join(checkout, path), 'utf8');
}

function dwcp(...args: readonly string[]): string {
  const bin = join(checkout, 'bin/dwcp.js');
  const env = { ...process.env, DWCP_NO_SETUP: '1' };
  return spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8', env }).stdout;
}

function commandsOf(help: string): readonly string[] {
  return [...help.matchAll(/^ {2}([a-z]+) /gm)]
    .map((match) => match[1] ?? '')
    .filter((name) => name !== 'help' && name !== 'dwcp');
}

for (const document of DOCUMENTS) {
  test(`every path that ${document} names exists`, () => {
    const words = [...read(document).matchAll(/`([^`\n]+)`/g)].flatMap(
      (match) => match[1]?.split(' ') ?? [],
    );
    const paths = words.filter((word) => /^[a-z.][\w.-]*\/[\w./-]*$/.test(word));
    const gone = paths.filter((path) => {
      const [top = ''] = path.split('/');
      // The first word is a folder of the checkout or of src; other words with a slash are no paths of ours.
      const roots = ['', 'src'].filter((folder) => existsSync(join(checkout, folder, top)));
      const isHere = roots.some((folder) => existsSync(join(checkout, folder, path)));
      return roots.length > 0 && !BUILT.test(path) && !isHere;
    });
    assert.deepEqual(gone, []);
  });

  test(`every npm script that ${document} names exists`, () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const named = [...read(document).matchAll(/\bnpm run ([a-z:]+)/g)].map((match) => match[1]);
    assert.deepEqual(
      named.filter((name) => name !== undefined && scripts[name] === undefined),
      [],
    );
  });
}

test('the README tells of every command, and of none that is not there', () => {
  const table = read('README.md')
    .split('\n')
    .filter((line) => line.startsWith('| `dwcp '))
    .join('\n');
  const named = new Set([...table.matchAll(/`dwcp ([a-z]+)/g)].map((match) => match[1]));
  assert.deepEqual([...named].sort(), [...commandsOf(dwcp('--help'))].sort());
  const guests = new Set([...table.matchAll(/`dwcp vm ([a-z]+)/g)].map((match) => match[1]));
  assert.deepEqual([...guests].sort(), [...commandsOf(dwcp('vm', '--help'))].sort());
});

test('the README tells of every benchmark', () => {
  const row = /^\| `dwcp bench list`.*$/m.exec(read('README.md'))?.[0] ?? '';
  const list = JSON.parse(dwcp('bench', 'list', '--json')) as readonly { name: string }[];
  for (const { name } of list) assert.ok(row.includes(`\`${name}\``), `${name} in: ${row}`);
});

test('the words of the glossary are in use', () => {
  const glossary = read('docs/GLOSSARY.md');
  const words = [...glossary.matchAll(/^- \*\*([^*]+)\*\*: /gm)].map((match) => match[1] ?? '');
  assert.ok(words.length > 30);
  const used = ['src', 'native', 'bench', 'scripts']
    .flatMap((folder) =>
      readdirSync(join(checkout, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.(?:ts|mjs|cc|h)$/.test(name) && !name.includes('node_modules'))
        .map((name) => read(join(folder, name))),
    )
    .concat(read('README.md'), read('docs/ARCHITECTURE.md'))
    .join('\n')
    .toLowerCase()
    .replace(/[^a-z]/g, '');
  assert.deepEqual(
    words.filter((word) => !used.includes(word.toLowerCase().replace(/[^a-z]/g, ''))),
    [],
  );
});
