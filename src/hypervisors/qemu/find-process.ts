/** Finding a QEMU again from the outside: by a word of its command line, or by the socket it listens on. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** The words of a process's command line; empty when it is gone. */
export function commandLine(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

/** Processes that have exactly this word on their command line. */
export function processesWith(word: string): readonly number[] {
  return allPids().filter((pid) => commandLine(pid).includes(word));
}

/** The process that listens on a unix socket. Null when there is none, or it is not ours to look at. */
export function socketOwner(path: string): number | null {
  const inodes = listeningInodes(path);
  if (inodes.size === 0) return null;
  for (const pid of allPids()) {
    if (descriptorLinks(pid).some((link) => inodes.has(link))) return pid;
  }
  return null;
}

/** The file of a socket is there before anybody may connect to it. */
export function isListening(path: string): boolean {
  return listeningInodes(path).size > 0;
}

function descriptorLinks(pid: number): readonly string[] {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).map((fd) => linkOf(`${folder}/${fd}`));
  } catch {
    return [];
  }
}

/** As `/proc/PID/fd` shows them. In `/proc/net/unix` the flag 00010000 marks a listening socket. */
function listeningInodes(path: string): ReadonlySet<string> {
  const lines = readFileSync('/proc/net/unix', 'utf8').split('\n');
  const found = lines.flatMap((line) => {
    const [, , , flags, , , inode, ...name] = line.trim().split(/\s+/);
    return flags === '00010000' && name.join(' ') === path ? [`socket:[${inode}]`] : [];
  });
  return new Set(found);
}

function allPids(): readonly number[] {
  return readdirSync('/proc').map(Number).filter(Number.isInteger);
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // Closed meanwhile.
  }
}
