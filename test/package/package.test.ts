/** What `npm pack` makes, used as another project would: in a folder of its own, through its exports alone. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const checkout = fileURLToPath(new URL('../../../', import.meta.url));
const project = mkdtempSync(join(tmpdir(), 'dwcp-package-'));
const installed = join(project, 'node_modules/dwcp');

/** As npm lays it out, without a registry: the tarball unpacked, our own dependencies linked beside it. */
before(() => {
  // Not its scripts: this checkout is built, or no test of it would run.
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', project];
  execFileSync('npm', pack, { cwd: checkout, stdio: ['ignore', 'pipe', 'ignore'] });
  mkdirSync(installed, { recursive: true });
  const tarball = readdirSync(project).find((name) => name.endsWith('.tgz'));
  assert.ok(tarball !== undefined);
  execFileSync('tar', ['-xzf', join(project, tarball), '--strip-components=1', '-C', installed]);
  for (const path of productionPackages()) {
    mkdirSync(dirname(join(project, path)), { recursive: true });
    symlinkSync(join(checkout, path), join(project, path));
  }
  writeFileSync(join(project, 'package.json'), '{"type":"module","private":true}');
});

after(() => rmSync(project, { recursive: true, force: true }));

/** What npm would install beside the package: no package that only our own build and tests need. */
function productionPackages(): readonly string[] {
  const lock = JSON.parse(readFileSync(join(checkout, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  const types = ['node_modules/@types/node', 'node_modules/undici-types'];
  const all = Object.entries(lock.packages).filter(([path]) => path !== '');
  return all
    .filter(([path, { dev }]) => dev !== true || types.includes(path))
    .map(([path]) => path)
    .filter((path) => path.lastIndexOf('node_modules/') === 0);
}

function filesBelow(folder: string): readonly string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

test('the package has all that the addon is built from, and no test', () => {
  const packed = filesBelow(installed);
  const sources = filesBelow(join(checkout, 'native'))
    .filter((path) => !/^(?:build|node_modules)\//.test(path))
    .map((path) => `native/${path}`);
  assert.ok(sources.includes('native/binding.gyp'));
  assert.deepEqual(
    sources.filter((path) => !packed.includes(path)),
    [],
  );
  assert.deepEqual(
    packed.filter((path) => /(?:^|\/)test\/|\.map$|^native\/build\//.test(path)),
    [],
  );
});

test('every entrance that package.json names is in the package', () => {
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
    bin: Record<string, string>;
    exports: Record<string, string | Record<string, string>>;
    imports: Record<string, Record<string, string>>;
  };
  const named = [manifest.bin, manifest.exports, manifest.imports].flatMap((map) =>
    Object.values(map).flatMap((to) => (typeof to === 'string' ? [to] : Object.values(to))),
  );
  assert.ok(named.length >= 6);
  assert.deepEqual(
    named.filter((path) => !existsSync(join(installed, path))),
    [],
  );
});

test('a host agent that embeds the package compiles against its types and moves a guest', () => {
  // What the install script builds for this machine.
  const built = 'native/build/Release';
  for (const name of ['dwcp.node', 'dwcp-guest']) {
    cpSync(join(checkout, built, name), join(installed, built, name));
  }
  const dwcp = join(installed, 'bin/dwcp.js');
  const run = (...args: string[]) =>
    execFileSync(process.execPath, args, { cwd: project, encoding: 'utf8', stdio: 'pipe' });
  const { exports } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
    exports: Record<string, unknown>;
  };
  for (const entrance of Object.keys(exports).filter((name) => !name.endsWith('.json'))) {
    const specifier = `dwcp${entrance.slice(1)}`;
    run('--input-type=module', '--eval', `import ${JSON.stringify(specifier)}; process.exit(0)`);
  }
  run(dwcp, 'keys', 'init');
  run(dwcp, 'keys', 'issue', 'host-a');
  run(dwcp, 'keys', 'issue', 'host-b');
  cpSync(join(installed, 'examples/embed.ts'), join(project, 'embed.ts'));
  const compiler = join(checkout, 'node_modules/typescript/bin/tsc');
  const libraries = ['--lib', 'es2023,esnext.disposable', '--types', 'node'];
  run(compiler, '--strict', '--target', 'es2022', '--module', 'nodenext', ...libraries, 'embed.ts');
  const receipt = JSON.parse(run('embed.js', './dwcp-keys')) as unknown;
  assert.deepEqual(receipt, { verified: true, from: 'host-a', to: 'host-b' });
});
