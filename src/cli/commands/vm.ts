/** `dwcp vm list`, `dwcp vm adopt` for a QEMU that runs, and the operator's word, `dwcp vm claim`. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { VmOwner } from '../../node.ts';
import { DwcpError } from '../../util/errors.ts';
import { formatBytes } from '../../util/units.ts';
import { addConnectionOptions, type ConnectionOptions, withAgent } from '../agent-connection.ts';
import { withFaults } from '../migration-faults.ts';
import { addCommand, formatTable, printResult } from '../output.ts';

export function addVmCommands(program: Command): void {
  const vm = program.command('vm').description('the guests of an agent');
  vm.addHelpText('after', '\nExample:\n  dwcp vm list --config agent.yaml');
  addListCommand(vm);
  addAdoptCommand(vm);
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
    const { status, migrations } = await withAgent(options, async (client) => ({
      status: await client.status(),
      migrations: await client.migrations(),
    }));
    const { guests, owners } = status;
    const ownerOf = (name: string): VmOwner | null => owners.find(({ vm }) => vm === name) ?? null;
    const waiting = migrations.filter(({ phase }) => phase === 'outcomeUnknown');
    const rows = guests.map((guest) => [
      guest.name,
      guest.kind,
      guest.state,
      formatBytes(guest.memoryBytes),
      String(guest.pid),
      ownerOf(guest.name)?.owner ?? '-',
      String(ownerOf(guest.name)?.epoch ?? '-'),
      guest.migrationId ?? '-',
    ]);
    const header = ['NAME', 'KIND', 'STATE', 'MEMORY', 'PID', 'OWNER', 'EPOCH', 'MIGRATION'];
    const document = guests.map((guest) => ({
      ...guest,
      owner: ownerOf(guest.name),
      error: waiting.find(({ migrationId }) => migrationId === guest.migrationId)?.error ?? null,
    }));
    printResult(options, document, withFaults(formatTable(header, rows), waiting));
  });
}

function addAdoptCommand(vm: Command): void {
  const command = addCommand(
    vm,
    'adopt <vm>',
    'take over a QEMU that runs on the host of the agent',
    'dwcp vm adopt vm1 --qmp /run/vm1.qmp --shared-disk /dev/mapper/san-vm1 --config agent.yaml',
  )
    .requiredOption('--qmp <path>', 'its QMP unix socket, which nobody else may be using')
    .option('--shared-disk <path...>', 'a disk that every host sees; others may not be writable');
  addConnectionOptions(command).action(
    async (
      name: string,
      options: ConnectionOptions & { readonly qmp: string; readonly sharedDisk?: string[] },
    ) => {
      const guest = { qmpPath: resolve(options.qmp), sharedDisks: options.sharedDisk ?? [] };
      const adopted = await withAgent(options, (client) => client.startGuest('qemu', name, guest));
      printResult(options, adopted, `${name} is managed here, ${adopted.state}`);
    },
  );
}

function addClaimCommand(vm: Command): void {
  const command = addCommand(
    vm,
    'claim <vm>',
    'take a VM over for this host: you state that its owner is dead or fenced',
    'dwcp vm claim vm1 --host-is-fenced --config agent.yaml',
  ).option('--host-is-fenced', 'your word that the guest cannot run on the other host any more');
  addConnectionOptions(command).action(
    async (name: string, options: ConnectionOptions & { readonly hostIsFenced?: true }) => {
      if (!options.hostIsFenced) {
        throw new DwcpError('ERR_DWCP_USAGE', 'vm claim needs --host-is-fenced', {
          hint: 'Make sure first that the other host is off or fenced: two running copies destroy the guest.',
        });
      }
      const { epoch, resumed } = await withAgent(options, (client) => client.claim(name));
      const then = resumed ? 'its frozen copy runs again' : 'no copy of it is here: start it anew';
      const text = `${name} is owned by this host under epoch ${epoch}; ${then}`;
      printResult(options, { guest: name, claimed: true, epoch, resumed }, text);
    },
  );
}
