// Runs every test file of dist/test, or those whose path contains an argument. Those that boot a guest with an RDMA
// device, or run in it, only when they are named: `npm run test:rdma` does.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const wanted = process.argv.slice(2);
const ON_DEMAND = ['dist/test/rdma/', 'dist/test/lab/rdma/'];
const files = readdirSync(join(root, 'dist/test'), { recursive: true })
  // The compiler leaves what it made of files that are gone.
  .filter((name) => existsSync(join(root, 'test', name.replace(/\.js$/, '.ts'))))
  .filter((name) => name.endsWith('.test.js'))
  .map((name) => `dist/test/${name}`)
  .filter((path) =>
    wanted.length === 0
      ? !ON_DEMAND.some((folder) => path.startsWith(folder))
      : wanted.some((part) => path.includes(part)),
  )
  .sort();
if (files.length === 0) {
  console.error(`no test file matches ${wanted.join(' ')}`);
  process.exit(1);
}
const result = spawnSync(
  process.execPath,
  // A file that a failure left with open sockets would hold CI for ever: the limit ends it.
  [
    ...['--enable-source-maps', '--test', '--test-reporter=spec', '--test-concurrency=2'],
    ...['--test-timeout=600000', ...files],
  ],
  { stdio: 'inherit', cwd: root },
);
process.exit(result.status ?? 1);
