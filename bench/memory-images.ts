/**
 * Physical memory of the project's Linux guests, for benches of codecs: one that idles, one whose key-value
 * server is under load, one that compiles C++. Without a network of its own: QEMU carries the client's connection.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { linuxMachine } from '../src/cli/demo/linux-guest.ts';
import { assert } from '../src/util/assert.ts';
import { freePort, until } from './migration-qemu-run.ts';
import { killVm, launchVm, type SavedVm, type VmHandle } from './migration-qemu-vm.ts';
import { LoadProcess } from './wan-guest.ts';
import { GuestClient } from './wan-guest-client.ts';
import type { LoadPlan } from './wan-guest-load.ts';

export type ImageKind = 'idle' | 'key-value server under load' | 'compiler run';

export interface ImagePlan {
  readonly folder: string;
  readonly kind: ImageKind;
  readonly memoryBytes: number;
}

const MIB = 2 ** 20;
const BOOT_WITHIN_MS = 300_000;
const IDLE_MS = 3_000;
const LOAD_MS = 5_000;
/** A compiler in the middle of its work. */
const COMPILER_BYTES_MIN = 60 * MIB;
const PART_BYTES = 256 * 1024;
/** Of QEMU's user network, always this one. */
const INSIDE_ADDRESS = '10.0.2.15';
const INSIDE_PORT = 6000;
const SOURCE = [
  '#include <algorithm>\n#include <functional>\n#include <iostream>\n#include <map>\n#include <random>',
  '#include <regex>\n#include <sstream>\n#include <thread>\n#include <unordered_map>\n#include <variant>',
  'using Value = std::variant<int, double, std::string, std::map<std::string, int>>;',
  'int main() { std::regex words("(a|b)*c"); std::unordered_map<std::string, Value> all;',
  '  all["x"] = 1; std::vector<std::function<void()>> work; std::mt19937 random;',
  '  work.push_back([&] { std::cout << std::regex_match("abc", words) << random(); });',
  '  std::sort(work.begin(), work.end(), [](auto&, auto&) { return false; }); work[0](); }',
].join('\n');

/** The bytes of its memory, page by page; the guest is gone afterwards. */
export async function memoryImage({ folder, kind, memoryBytes }: ImagePlan): Promise<Uint8Array> {
  const machine = await linuxMachine('kv', memoryBytes, `dwcp.ip=${INSIDE_ADDRESS}`);
  const port = await freePort();
  const forward = `tcp:127.0.0.1:${port}-${INSIDE_ADDRESS}:${INSIDE_PORT}`;
  const vm: SavedVm = {
    qemu: machine.qemu,
    args: [
      ...machine.args.map((word) => word.replace('file:@RUN@/serial', 'file:@SERIAL@')),
      ...['-netdev', `user,id=net0,hostfwd=${forward}`],
      ...['-device', 'virtio-net-pci,netdev=net0,romfile='],
    ],
    statePath: '',
    memoryBytes,
  };
  const name = kind.replaceAll(' ', '-');
  mkdirSync(join(folder, name), { recursive: true });
  const handle = await launchVm(vm, folder, name, []);
  try {
    await work(kind, { host: '127.0.0.1', port }, join(folder, name), memoryBytes);
    return await saved(handle, join(folder, `${name}.image`), memoryBytes);
  } finally {
    handle.qmp.close();
    await killVm(handle.running);
  }
}

async function saved({ qmp }: VmHandle, filename: string, size: number): Promise<Uint8Array> {
  await qmp.ask('stop');
  await qmp.ask('pmemsave', { val: 0, size, filename });
  return readFileSync(filename);
}

type At = LoadPlan['at'];

async function work(kind: ImageKind, at: At, folder: string, memoryBytes: number): Promise<void> {
  const client = await GuestClient.connect(at, BOOT_WITHIN_MS);
  try {
    if (kind === 'idle') await delay(IDLE_MS);
    else if (kind === 'compiler run') await compile(client, folder);
    else await serve(at, folder, memoryBytes);
  } finally {
    client.close();
  }
}

async function serve(at: At, folder: string, memoryBytes: number): Promise<void> {
  const load = new LoadProcess([]);
  try {
    const versionsPath = join(folder, 'versions');
    const listPath = `${versionsPath}.files`;
    writeFileSync(versionsPath, '[]');
    const seeds = { seed: 1, imageSeed: 1 };
    const sizes = { fileBytes: Math.floor(memoryBytes * 0.4), freeBytesLeft: memoryBytes * 0.08 };
    await load.ask({ type: 'fill', at, ...seeds, ...sizes, listPath });
    await load.ask({
      ...{ type: 'load', at, seed: 1, versionsPath, listPath },
      ...{ operationsPerSec: 200, writeShare: 0.25 },
    });
    await delay(LOAD_MS);
    const { fault, operations } = await load.report();
    assert(fault === null && operations > 0, `the guest serves: ${fault}`);
  } finally {
    load.kill();
  }
}

/** This machine's compiler with its libraries, and a program that it works on for a while. */
async function compile(client: GuestClient, folder: string): Promise<void> {
  const source = join(folder, 'program.cc');
  writeFileSync(source, SOURCE);
  const run = (command: string, ...args: readonly string[]): string =>
    execFileSync(command, args, { encoding: 'utf8' });
  run('g++', '-std=c++17', '-E', source, '-o', join(folder, 'program.ii'));
  const compiler = run('g++', '-print-prog-name=cc1plus').trim();
  const libraries = [...run('ldd', compiler).matchAll(/(\/\S+) \(0x/g)].map(
    (match) => match[1] ?? '',
  );
  for (const path of [compiler, join(folder, 'program.ii'), ...libraries]) await send(client, path);
  const loader = libraries.map((path) => basename(path)).find((name) => name.startsWith('ld-'));
  assert(loader !== undefined, 'a compiler has a loader');
  const words = [
    ...[`/files/${loader}`, '--library-path', '/files', '/files/cc1plus', '-quiet', '-O2'],
    ...['/files/program.ii', '-o', '/files/program.s'],
  ];
  await client.ask('run', '', Buffer.from(words.join('\0')));
  await until(
    'the compiler does not work',
    async () => {
      const { value } = await client.ask('memory');
      const said = /AnonPages:\s+(\d+) kB/.exec(value?.toString('latin1') ?? '')?.[1];
      return Number(said ?? 0) * 1024 > COMPILER_BYTES_MIN;
    },
    BOOT_WITHIN_MS,
  );
}

async function send(client: GuestClient, path: string): Promise<void> {
  const bytes = readFileSync(path);
  for (let from = 0; from < bytes.length; from += PART_BYTES) {
    const part = bytes.subarray(from, from + PART_BYTES);
    const { isFull } = await client.ask('append', basename(path), part);
    assert(!isFull, `the guest has room for ${path}`);
  }
}
