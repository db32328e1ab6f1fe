/** The commit of this checkout. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const checkout = fileURLToPath(new URL('../../..', import.meta.url));

/** What figures and replay files belong to; `-dirty` when they belong to no commit. */
export function currentCommit(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, {
      cwd: checkout,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no') !== '';
    return git('rev-parse', 'HEAD').trim() + (changed ? '-dirty' : '');
  } catch {
    return 'unknown'; // an installed package has no repository
  }
}
