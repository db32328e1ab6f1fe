/** `dwcp demo`: the main job on one machine, with nothing to install or configure. */
import { type Command, Option } from 'commander';
import { LINK_MODES } from '../../ports/link-mode.ts';
import { TRANSFER_PROFILES } from '../../ports/transfer-profile.ts';
import { rdmaAbsent, rdmaAddress } from '../../transports/rdma-ability.ts';
import { DwcpError } from '../../util/errors.ts';
import { formatBytes, formatRate, parseBytes } from '../../util/units.ts';
import { type DemoCluster, startDemoCluster } from '../demo/cluster.ts';
import { type DemoPath, demoOnWan, LOOPBACK, pathAt, pathInside } from '../demo/demo-path.ts';
import { linuxGuest } from '../demo/linux-guest.ts';
import { type DemoDocument, type DemoOptions, runDemo } from '../demo/scenario.ts';
import { TickWatch } from '../demo/tick-watch.ts';
import { showMigration } from '../migration-display.ts';
import { addCommand, type JsonOption, printResult } from '../output.ts';
import { postcopyOption, profileOption, warnOfPostcopy } from './migrate.ts';

interface DemoCommandOptions extends JsonOption {
  readonly guest: string;
  readonly size?: string;
  readonly dirtyRate?: string;
  readonly mode: string;
  readonly profile?: string;
  readonly allowPostcopy?: boolean;
  readonly inside?: string;
  readonly transport: string;
  readonly requireTransport?: boolean;
}

export function addDemoCommand(program: Command): void {
  addCommand(
    program,
    'demo',
    'three agents on this machine, and a live guest moved from a to b',
    'dwcp demo --size 512MiB --dirty-rate 200MiB/s',
  )
    .option('--guest <kind>', 'memory (embedded) or qemu (a Linux VM)', 'memory')
    .option('--size <bytes>', "the guest's memory; default 1GiB, qemu or internet 256MiB")
    .option(
      '--dirty-rate <rate>',
      'how fast the guest writes to distinct pages; default 100MiB/s, qemu 16MiB/s, internet 512KiB/s',
    )
    .option(
      '--mode <mode>',
      'of the links: datacenter, hybrid, or internet: as root over a WAN of 100 Mbit/s between network namespaces',
      'datacenter',
    )
    .addOption(profileOption())
    .addOption(postcopyOption())
    .addOption(
      new Option('--transport <kind>', 'what carries the memory')
        .choices(['auto', 'tcp', 'rdma'])
        .default('auto'),
    )
    .option('--require-transport', 'with --transport rdma: fail instead of falling back to TCP')
    .addOption(new Option('--inside <wan>', 'on which hosts to run').hideHelp())
    .action(demo);
}

async function demo(options: DemoCommandOptions): Promise<void> {
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const wanted = demoOptions(options);
  if (options.inside === undefined) warnOfPostcopy(options);
  if (wanted.mode === 'internet' && options.inside === undefined) {
    const { size, dirtyRate } = defaultsOf(wanted);
    if (options.size === undefined)
      say(`internet mode: a guest of ${size}, unless --size says else`);
    if (options.dirtyRate === undefined) say(`internet mode: it writes ${dirtyRate}`);
    const ran = await demoOnWan(wordsOf(wanted, options));
    if ('exitCode' in ran) {
      process.exitCode = ran.exitCode;
      return;
    }
    say(`internet mode on loopback, without a WAN: ${ran.whyNot}`);
  }
  const path = options.inside === undefined ? nearPath(wanted) : pathInside(options.inside);
  await demoOver(path, wanted, options, say);
}

/** The same demo again. */
function wordsOf(
  { transport, allowPostcopy, ...wanted }: Wanted,
  { json, requireTransport }: DemoCommandOptions,
) {
  const { guest, mode, profile, memoryBytes, dirtyBytesPerSec } = wanted;
  const sizes = ['--size', `${memoryBytes}`, '--dirty-rate', `${dirtyBytesPerSec}`];
  return [
    '--guest',
    guest,
    '--mode',
    mode,
    '--profile',
    profile,
    ...sizes,
    ...(allowPostcopy ? ['--allow-postcopy'] : []),
    ...['--transport', transport],
    ...(requireTransport ? ['--require-transport'] : []),
    ...(json ? ['--json'] : []),
  ];
}

async function demoOver(
  path: DemoPath,
  wanted: Wanted,
  options: JsonOption,
  say: (line: string) => void,
): Promise<void> {
  let cluster: DemoCluster | null = null;
  let watch: TickWatch | null = null;
  const interruption = new AbortController();
  const { signal } = interruption;
  // Whatever is under way now fails, on a closed agent or by itself, and the `finally` below cleans
  // up; an impatient second signal must not cut that short.
  const onSignal = () => {
    interruption.abort();
    void cluster?.stop();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  const display = showMigration();
  try {
    const { guest, memoryBytes, dirtyBytesPerSec } = wanted;
    let guestOptions: object = { memoryBytes, dirtyBytesPerSec };
    // A datacenter's network, here loopback, counts as trusted: its figures are those of the checksum.
    const encryption = wanted.mode === 'datacenter' ? 'off' : 'on';
    const { transport, requireTransport } = wanted;
    let settings: Readonly<Record<string, unknown>> = {
      link: { mode: wanted.mode, encryption, transport, requireTransport },
    };
    if (guest === 'qemu') {
      const { qemu, args } = await linuxGuest(wanted);
      guestOptions = { args };
      settings = { ...settings, qemu };
    }
    signal.throwIfAborted();
    cluster = await startDemoCluster({ settings, signal, ...path.cluster });
    say(`between the hosts: ${path.describe}`);
    if (guest === 'qemu') watch = new TickWatch(cluster.dataDirs);
    const scenario = { ...wanted, guestOptions, watch, say, onProgress: display.update };
    const document = { ...(await runDemo(cluster, scenario)), path: path.describe };
    display.stop();
    printResult(options, document, describeDemo(document));
    if (watch?.fault) say(`the guest's serial port: ${watch.fault}`);
    if (!(document.verified || document.postcopy) || document.workload.invariantHeld === false)
      process.exitCode = 1;
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new DwcpError('ERR_DWCP_CANCELLED', 'the demo was interrupted', { cause: error });
  } finally {
    display.stop();
    watch?.close();
    await cluster?.stop();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

type Wanted = Pick<
  DemoOptions,
  'guest' | 'mode' | 'profile' | 'memoryBytes' | 'dirtyBytesPerSec' | 'allowPostcopy'
> & { readonly transport: string; readonly requireTransport: boolean };

/** On one machine; where RDMA is asked for, at an address of its device, which is not that of loopback. */
function nearPath({ transport, requireTransport }: Wanted): DemoPath {
  if (transport !== 'rdma') return LOOPBACK;
  const absent = rdmaAbsent();
  const address = absent === null ? rdmaAddress() : null;
  if (address !== null) return pathAt(address);
  if (!requireTransport) return LOOPBACK;
  throw new DwcpError(
    'ERR_DWCP_UNSUPPORTED',
    `RDMA is required, but ${absent ?? 'no device has an IPv4 address'}`,
    { hint: 'Run "dwcp doctor", or leave out --require-transport to fall back to TCP.' },
  );
}

/**
 * An emulated VM is slower than the embedded guest, and so is asked for less; so is whoever has a wire of
 * 12 MB/s, over which a gibibyte takes a minute and a half and a move among 16 MiB/s of writes never ends.
 */
const DEFAULTS = {
  memory: { size: '1GiB', dirtyRate: '100MiB/s' },
  qemu: { size: '256MiB', dirtyRate: '16MiB/s' },
  internet: { size: '256MiB', dirtyRate: '512KiB/s' },
} as const;

function defaultsOf({ guest, mode }: Pick<Wanted, 'guest' | 'mode'>): {
  readonly size: string;
  readonly dirtyRate: string;
} {
  return DEFAULTS[mode === 'internet' ? mode : guest];
}

function demoOptions(options: DemoCommandOptions): Wanted {
  const { guest } = options;
  const mode = LINK_MODES.find((each) => each === options.mode);
  if (guest !== 'memory' && guest !== 'qemu') throw wrong('--guest', guest, 'memory, qemu');
  if (mode === undefined) throw wrong('--mode', options.mode, LINK_MODES.join(', '));
  const { size, dirtyRate } = { ...defaultsOf({ guest, mode }), ...options };
  const memoryBytes = parseBytes(size);
  const leastBytes = guest === 'qemu' ? 128 * 2 ** 20 : 2 ** 20;
  if (memoryBytes < leastBytes) throw wrong('--size', size, `${formatBytes(leastBytes)} or more`);
  const profile = TRANSFER_PROFILES.find((each) => each === options.profile) ?? 'v3';
  const { allowPostcopy = false } = options;
  if (allowPostcopy && guest !== 'qemu')
    throw wrong('--guest', guest, 'qemu, with --allow-postcopy');
  const { transport, requireTransport = false } = options;
  if (requireTransport && transport !== 'rdma') {
    throw wrong('--transport', transport, 'rdma, with --require-transport');
  }
  const dirtyBytesPerSec = parseBytes(dirtyRate);
  const rest = { profile, memoryBytes, dirtyBytesPerSec, allowPostcopy };
  return { guest, mode, ...rest, ...{ transport, requireTransport } };
}

function wrong(option: string, value: string, allowed: string): DwcpError {
  return new DwcpError('ERR_DWCP_USAGE', `${option} cannot be "${value}"`, {
    hint: `Allowed: ${allowed}.`,
  });
}

function verdictOf({ verified, postcopy }: DemoDocument): string {
  if (postcopy) return 'no: it ran before its memory came (post-copy)';
  return verified ? 'yes, page by page' : 'NO';
}

function describeTransport({ transport, transportFallback }: DemoDocument): string {
  const name = transport === 'rdma' ? 'RDMA' : 'TCP';
  return transportFallback === null ? name : `${name}, since ${transportFallback}`;
}

function describeDemo(document: DemoDocument & { readonly path: string }): string {
  const { workload, owner, pages } = document;
  const invariant = { true: 'held', false: 'BROKEN', null: 'unknown' }[
    `${workload.invariantHeld}` as 'true' | 'false' | 'null'
  ];
  return [
    `moved      ${document.guest} guest of ${formatBytes(document.memoryBytes)}, ${owner.before} -> ${owner.after} (epoch ${owner.epoch})`,
    `over       ${document.path}, by ${describeTransport(document)}; the link is in mode ${document.mode}`,
    `total      ${(document.totalMs / 1000).toFixed(2)} s, ${document.rounds} rounds, ${formatRate(document.goodputBytesPerSec)}`,
    `downtime   ${document.downtimeMs.toFixed(1)} ms, ${document.guest === 'qemu' ? 'seen at its serial port' : 'seen by the guest'}`,
    `sent       ${formatBytes(document.wireBytes)} (pages: ${pages.raw} raw, ${pages.compressed} compressed, ${pages.delta} delta, ${pages.duplicate} duplicate, ${pages.zero} zero)`,
    `workload   ${workload.operationsBefore} -> ${workload.operationsAfter} operations, invariant ${invariant}`,
    `verified   ${verdictOf(document)}`,
  ].join('\n');
}
