/**
 * A QEMU command line as it may travel: without what belongs to one process on one host, and without
 * what would let a source run programs or read files of its choice on the destination.
 */
import { DwcpError } from '../../util/errors.ts';

/** Stands for the guest's own folder, so that two twins on one host do not share a path. */
export const RUN_DIRECTORY = '@RUN@';

const ARGUMENTS_MAX = 512;
const ARGUMENT_BYTES_MAX = 4096;

/** Options of one process, with the number of words that follow them. */
const OWN_OPTIONS: ReadonlyMap<string, number> = new Map([
  ...(['S', 'daemonize', 's', 'no-shutdown'] as const).map((name) => [name, 0] as const),
  ...(
    [
      ...['qmp', 'qmp-pretty', 'mon', 'monitor', 'incoming', 'pidfile', 'loadvm', 'gdb', 'L'],
      ...['D', 'd', 'trace', 'sandbox', 'run-with', 'runas', 'chroot', 'plugin'],
      ...['readconfig', 'add-fd', 'semihosting-config'],
    ] as const
  ).map((name) => [name, 1] as const),
]);

/** Values that make QEMU start a program. The sandbox of an incoming QEMU forbids it once more. */
const RUNS_PROGRAMS =
  /(?:^|[,=-])(?:exec:|cmd:)|(?:^|,)(?:down)?script=(?!no(?:,|$))|(?:^|,)helper=/;

/** From the command line of a running QEMU, what its twin on another host needs. */
export function portableArguments(words: readonly string[], runDirectory: string | null): string[] {
  const kept: string[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    const following = OWN_OPTIONS.get(optionName(word));
    if (following === undefined) kept.push(word);
    else at += following;
  }
  if (runDirectory === null) return kept;
  return kept.map((word) => word.replaceAll(runDirectory, RUN_DIRECTORY));
}

/** Throws `ERR_DWCP_PROTOCOL` on what no honest source sends. */
export function checkPeerArguments(launch: Readonly<Record<string, unknown>>): readonly string[] {
  const words = launch['args'];
  if (!Array.isArray(words) || words.length > ARGUMENTS_MAX) {
    throw refused(`launch arguments must be a list of at most ${ARGUMENTS_MAX} words`);
  }
  return words.map((word: unknown) => {
    if (typeof word !== 'string' || word.length > ARGUMENT_BYTES_MAX || word.includes('\0')) {
      throw refused('a launch argument is no text, or is too long');
    }
    if (OWN_OPTIONS.has(optionName(word)) || RUNS_PROGRAMS.test(word)) {
      throw refused(`a source may not ask for "${word.slice(0, 80)}"`);
    }
    return word;
  });
}

/** QEMU takes `-option` and `--option` alike; a word without a dash is a value. */
function optionName(word: string): string {
  return word.startsWith('-') ? word.replace(/^--?/, '') : '';
}

function refused(what: string): DwcpError {
  return new DwcpError('ERR_DWCP_PROTOCOL', `QEMU: ${what}`, {
    hint: 'Configure the guest at its source without it; the guest goes on there.',
  });
}
