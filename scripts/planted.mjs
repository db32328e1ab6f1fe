// Proves that the tests can fail: applies each fault of test/planted to a copy of the checkout, rebuilds
// what it touches, runs the test that the patch names and demands that it goes red.
// A patch begins with lines `test: PATH-PART` and `name: part of the test's name that must fail`.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = join(root, 'test/planted');
const wanted = process.argv.slice(2);
const patches = readdirSync(folder)
  .filter((name) => name.endsWith('.patch'))
  .filter((name) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
  .sort();
if (patches.length === 0) {
  console.error('no planted fault matches');
  process.exit(1);
}

let missed = 0;
for (const patch of patches) {
  const text = readFileSync(join(folder, patch), 'utf8');
  const test = header(text, 'test');
  const name = header(text, 'name');
  const copy = mkdtempSync(join(tmpdir(), 'dwcp-planted-'));
  try {
    copyCheckout(copy);
    must(copy, 'patch', ['-p1', '--fuzz=0', '-i', join(folder, patch)]);
    must(copy, process.execPath, ['scripts/setup.mjs']);
    const run = spawnSync(process.execPath, ['scripts/test.mjs', test], {
      cwd: copy,
      encoding: 'utf8',
      timeout: 300_000,
    });
    const red = run.stdout.split('\n').some((line) => line.includes('✖') && line.includes(name));
    console.log(`${red ? 'caught' : 'MISSED'}  ${patch}  by "${name}" in ${test}`);
    if (!red) {
      missed += 1;
      console.error(run.stdout.slice(-3000), run.stderr.slice(-2000));
    }
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
console.log(`planted faults: ${patches.length - missed} caught, ${missed} missed`);
process.exit(missed === 0 ? 0 : 1);

function header(text, key) {
  const value = new RegExp(`^${key}: (.+)$`, 'm').exec(text)?.[1];
  if (value !== undefined) return value;
  console.error(`a planted fault needs a line "${key}: ..."`);
  process.exit(1);
}

/** With its builds, so that only what the patch touches is built again. */
function copyCheckout(copy) {
  for (const name of readdirSync(root)) {
    if (['.git', 'node_modules', '.cache'].includes(name)) continue;
    cpSync(join(root, name), join(copy, name), {
      recursive: true,
      preserveTimestamps: true,
      filter: (path) => path !== join(root, 'build/sanitize'),
    });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
}

function must(cwd, command, args) {
  const run = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (run.status === 0) return;
  console.error(`${command} ${args.join(' ')} failed:\n${run.stdout}${run.stderr}`);
  process.exit(1);
}
