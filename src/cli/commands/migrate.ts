import { type Command, Option } from 'commander';
import type { MigrateOptions, MigrationReceipt } from '../../node.ts';
import { TRANSFER_PROFILES } from '../../ports/transfer-profile.ts';
import { DwcpError } from '../../util/errors.ts';
import { formatBytes, parseBytes } from '../../util/units.ts';
import { addConnectionOptions, type ConnectionOptions, withAgent } from '../agent-connection.ts';
import { showMigration } from '../migration-display.ts';
import { addCommand } from '../output.ts';

interface MigrateCommandOptions extends ConnectionOptions {
  readonly to: string;
  readonly maxDowntime?: string;
  readonly maxDowntimeCeiling?: string;
  readonly throttle?: string;
  readonly allowPostcopy?: boolean;
  readonly maxBandwidth?: string;
  readonly verify?: string;
  readonly profile?: string;
}

export function addMigrateCommand(program: Command): void {
  const command = addCommand(
    program,
    'migrate <vm>',
    'move a running guest to another node',
    'dwcp migrate vm1 --to host-b --max-bandwidth 1Gbit/s --config agent.yaml',
  )
    .requiredOption('--to <node>', 'where to')
    .option('--max-downtime <ms>', 'how long it may stand still, in milliseconds')
    .option('--max-downtime-ceiling <ms>', 'what that may be raised to if nothing else helps')
    .option('--throttle <percent>', 'slow the guest down by at most so much if it must be (QEMU)')
    .addOption(postcopyOption())
    .option('--max-bandwidth <rate>', 'such as 100MiB/s; "dwcp limit" changes it while it runs')
    .option('--verify <mode>', 'after, strict or off')
    .addOption(profileOption());
  addConnectionOptions(command).action(async (vm: string, options: MigrateCommandOptions) => {
    warnOfPostcopy(options);
    const display = options.json ? null : showMigration();
    try {
      const receipt = await withAgent(options, (client) =>
        client.migrate(vm, migrateOptions(options), (progress) => {
          if (display === null) process.stdout.write(`${JSON.stringify({ progress })}\n`);
          else display.update(progress);
        }),
      );
      display?.stop();
      process.stdout.write(
        options.json ? `${JSON.stringify({ receipt })}\n` : `${describeReceipt(receipt)}\n`,
      );
    } finally {
      display?.stop();
    }
  });
}

export function profileOption(): Option {
  const text = 'v3, or the baseline v1: one stream, whole pages, zstd level 3';
  return new Option('--profile <name>', text).choices([...TRANSFER_PROFILES]);
}

export function postcopyOption(): Option {
  const text =
    'QEMU, as the last step: run it at the destination before its memory came; losing either host then loses the VM';
  return new Option('--allow-postcopy', text);
}

export function warnOfPostcopy({ allowPostcopy }: { readonly allowPostcopy?: boolean }): void {
  if (allowPostcopy !== true) return;
  process.stderr.write(
    'warning: post-copy is allowed. If it comes to that, losing either host before the last page arrived loses the VM, and nothing is compared.\n',
  );
}

function migrateOptions(options: MigrateCommandOptions): MigrateOptions {
  const { to, maxDowntime, maxDowntimeCeiling, throttle, maxBandwidth, verify } = options;
  const { allowPostcopy } = options;
  if (verify !== undefined && verify !== 'after' && verify !== 'strict' && verify !== 'off') {
    throw new DwcpError('ERR_DWCP_USAGE', `--verify cannot be "${verify}"`, {
      hint: 'Use after, strict or off.',
    });
  }
  const ms = 'Give whole milliseconds, such as 300.';
  const maxDowntimeMs = whole('--max-downtime', maxDowntime, ms);
  const maxDowntimeCeilingMs = whole('--max-downtime-ceiling', maxDowntimeCeiling, ms);
  const percent = 'Give whole per cent, such as 60.';
  const throttlePercentMax = whole('--throttle', throttle, percent);
  const profile = TRANSFER_PROFILES.find((each) => each === options.profile);
  return {
    to,
    ...(profile === undefined ? {} : { profile }),
    ...(maxDowntime === undefined ? {} : { maxDowntimeMs }),
    ...(maxDowntimeCeiling === undefined ? {} : { maxDowntimeCeilingMs }),
    ...(throttle === undefined ? {} : { throttlePercentMax }),
    ...(allowPostcopy === undefined ? {} : { allowPostcopy }),
    ...(maxBandwidth === undefined ? {} : { maxBandwidth: parseBytes(maxBandwidth) }),
    ...(verify === undefined ? {} : { verify }),
  };
}

function survived({ cuts, restarts, heldPages }: MigrationReceipt): string[] {
  if (cuts + restarts === 0) return [];
  const held = restarts === 0 ? '' : `, found ${heldPages} pages there already`;
  return [`went on after ${cuts} cuts of the link and ${restarts} deaths of an agent${held}`];
}

function whole(option: string, text: string | undefined, hint: string): number {
  const value = Number(text ?? 0);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new DwcpError('ERR_DWCP_USAGE', `${option} cannot be "${text}"`, { hint });
}

function fallback({ transport, transportFallback }: MigrationReceipt): readonly string[] {
  if (transportFallback !== null) return [`carried by TCP: ${transportFallback}`];
  return transport === 'rdma' ? ['carried by RDMA'] : [];
}

function describeReceipt(receipt: MigrationReceipt): string {
  const whyNot = receipt.postcopy ? 'it ran before its memory came: post-copy' : 'off';
  const verdict =
    receipt.verified === null
      ? `not verified (${whyNot})`
      : `${receipt.comparedPages} pages compared, ${receipt.differentPages} differ`;
  return [
    `${receipt.guest} moved ${receipt.from} -> ${receipt.to} in ${(receipt.totalMs / 1000).toFixed(2)} s`,
    `${receipt.rounds} rounds, stopped ${receipt.stoppedMs.toFixed(1)} ms, ${formatBytes(receipt.wireBytes)} on the wire`,
    ...fallback(receipt),
    ...survived(receipt),
    ...receipt.steps.map((step) => `to converge: ${step}`),
    verdict,
  ].join('\n');
}
