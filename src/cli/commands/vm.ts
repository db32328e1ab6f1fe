/** `dwcp vm list` and the operator's word, `dwcp vm claim`. */
import type { Command } from 'commander';
import { DwcpError } from '../../util/errors.ts';
import { formatBytes } from '../../util/units.ts';
import { addConnectionOptions, type ConnectionOptions, withAgent } from '../agent-connection.ts';
import { addCommand, formatTable, printResult } from '../output.ts';

export function addVmCommands(program: Command): void {
  const vm = program.command('vm').description('the guests of an agent');
  vm.addHelpText('after', '\nExample:\n  dwcp vm list --config agent.yaml');
  addListCommand(vm);
  addClaimCommand(vm);
}

function addListCommand(vm: Command): void {
  const command = addCommand(
    vm,
    'list',
    'guests and their state',
    'dwcp vm list --config agent.yaml',
  );
  addConnectionOptions(command).action(async (options: ConnectionOptions) => {
    const guests = await withAgent(options, (client) => client.guests());
    const rows = guests.map((guest) => [
      guest.name,
      guest.kind,
      guest.state,
      formatBytes(guest.memoryBytes),
      String(guest.pid),
      String(guest.epoch),
      guest.migrationId ?? '-',
    ]);
    const header = ['NAME', 'KIND', 'STATE', 'MEMORY', 'PID', 'EPOCH', 'MIGRATION'];
    printResult(options, guests, formatTable(header, rows));
  });
}

function addClaimCommand(vm: Command): void {
  const command = addCommand(
    vm,
    'claim <vm>',
    'settle an unknown outcome here: you state that the other host is dead or fenced',
    'dwcp vm claim vm1 --host-is-fenced --config agent.yaml',
  ).option('--host-is-fenced', 'your word that the guest cannot run on the other host any more');
  addConnectionOptions(command).action(
    async (name: string, options: ConnectionOptions & { readonly hostIsFenced?: true }) => {
      if (!options.hostIsFenced) {
        throw new DwcpError('ERR_DWCP_USAGE', 'vm claim needs --host-is-fenced', {
          hint: 'Make sure first that the other host is off or fenced: two running copies destroy the guest.',
        });
      }
      await withAgent(options, (client) => client.claim(name));
      printResult(options, { guest: name, claimed: true }, `${name} is claimed here`);
    },
  );
}
