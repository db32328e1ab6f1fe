// Everything a reviewer would otherwise have to say: lint and format, types, C++ format, the tidy rules.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
let failed = 0;

check('biome', 'node_modules/.bin/biome', ['ci', '--error-on-warnings', '.']);
check('tsc', 'node_modules/.bin/tsc', ['-p', '.', '--noEmit']);
if (spawnSync('clang-format', ['--version']).status === 0) {
  check('clang-format', 'clang-format', ['--dry-run', '-Werror', ...cppFiles()]);
} else {
  console.error('check: clang-format is not installed: apt-get install -y clang-format');
  failed += 1;
}
check('tidy', process.execPath, ['scripts/test.mjs', 'test/tidy/']);
process.exit(failed === 0 ? 0 : 1);

function check(name, command, args) {
  const { status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  console.error(`check: ${name} ${status === 0 ? 'passed' : 'FAILED'}`);
  if (status !== 0) failed += 1;
}

function cppFiles() {
  return ['native', 'bench']
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true }).map((name) => join(folder, name)),
    )
    .filter((path) => /\.(?:cc|h)$/.test(path) && !path.startsWith('native/build/'));
}
