import type { Command } from 'commander';
import { formatBytes, formatRate } from '../../util/units.ts';
import { addConnectionOptions, type ConnectionOptions, withAgent } from '../agent-connection.ts';
import { withFaults } from '../migration-faults.ts';
import { addCommand, formatTable, printResult } from '../output.ts';

export function addMigrationsCommand(program: Command): void {
  const command = addCommand(
    program,
    'migrations',
    'migrations of an agent, running and finished',
    'dwcp migrations --config agent.yaml',
  );
  addConnectionOptions(command).action(async (options: ConnectionOptions) => {
    const migrations = await withAgent(options, (client) => client.migrations());
    const rows = migrations.map((each) => [
      each.migrationId,
      each.guest,
      `${each.from} -> ${each.to}`,
      each.phase,
      String(each.round),
      formatBytes(each.remainingBytes),
      each.maxBandwidth === 0 ? '-' : formatRate(each.maxBandwidth),
      each.error === null ? '-' : each.error.code,
    ]);
    const header = ['ID', 'GUEST', 'MOVE', 'PHASE', 'ROUND', 'REMAINING', 'LIMIT', 'ERROR'];
    printResult(options, migrations, withFaults(formatTable(header, rows), migrations));
  });
}
