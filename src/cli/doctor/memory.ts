/** Dirty tracking: tried on a small region, since a version number promises nothing. */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { type Finding, fine, missing } from './finding.ts';

export async function probeMemory(): Promise<readonly Finding[]> {
  return [probeUserfaultfd()];
}

function probeUserfaultfd(): Finding {
  const name = 'userfaultfd';
  const knob = '/proc/sys/vm/unprivileged_userfaultfd';
  if (!existsSync(knob)) {
    return missing(name, 'this kernel has none', 'Boot a kernel with CONFIG_USERFAULTFD=y.');
  }
  if (process.getuid?.() === 0) return fine(name, 'allowed (root)');
  if (readFileSync(knob, 'utf8').trim() === '1') return fine(name, 'allowed (unprivileged)');
  try {
    accessSync('/dev/userfaultfd', constants.R_OK | constants.W_OK);
    return fine(name, 'allowed (/dev/userfaultfd)');
  } catch {
    return missing(name, 'not allowed for this user', 'sysctl -w vm.unprivileged_userfaultfd=1');
  }
}
