import type { Command } from 'commander';
import { addConnectionOptions, type ConnectionOptions, withAgent } from '../agent-connection.ts';
import { addCommand, printResult } from '../output.ts';

export function addCancelCommand(program: Command): void {
  const command = addCommand(
    program,
    'cancel <id>',
    'cancel a migration before its commit; its guest goes on at the source',
    'dwcp cancel 7f3a --config agent.yaml',
  );
  addConnectionOptions(command).action(async (id: string, options: ConnectionOptions) => {
    await withAgent(options, (client) => client.cancel(id));
    printResult(options, { migrationId: id, cancelled: true }, `${id} is cancelled`);
  });
}
