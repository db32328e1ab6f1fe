// Assembles the firmware guest: `node scripts/guests/counter.mjs OUTPUT`.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Writes the 64 KiB firmware image; throws with the assembler's words. */
export function assembleCounter(output) {
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-counter-'));
  const source = join(dirname(fileURLToPath(import.meta.url)), 'counter.S');
  const object = join(folder, 'counter.o');
  try {
    run('as', ['--32', '-o', object, source]);
    run('ld', ['-m', 'elf_i386', '-Ttext', '0', '--oformat', 'binary', '-o', output, object]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run(command, args) {
  const result = spawnSync(command, args, { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`${command}: ${result.error?.message ?? result.stderr}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) assembleCounter(process.argv[2]);
