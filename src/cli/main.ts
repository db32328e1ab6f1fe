/** The `dwcp` command: parses, runs one command, and turns every failure into an exit code. */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { DwcpError } from '../util/errors.ts';
import { addAgentCommand } from './commands/agent.ts';
import { addBenchCommand } from './commands/bench.ts';
import { addCancelCommand } from './commands/cancel.ts';
import { addDemoCommand } from './commands/demo.ts';
import { addDoctorCommand } from './commands/doctor.ts';
import { addKeysCommands } from './commands/keys.ts';
import { addLimitCommand } from './commands/limit.ts';
import { addMigrateCommand } from './commands/migrate.ts';
import { addMigrationsCommand } from './commands/migrations.ts';
import { addModeCommand } from './commands/mode.ts';
import { addSimCommands } from './commands/sim.ts';
import { addStatusCommand } from './commands/status.ts';
import { addVmCommands } from './commands/vm.ts';
import { exitCodeOf, printFailure } from './output.ts';

/** Sets `process.exitCode`: 0 success, 1 failure, 2 wrong usage. */
export async function main(argv: string[]): Promise<void> {
  try {
    await buildProgram().parseAsync(argv, { from: 'user' });
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return;
    const error = thrown instanceof CommanderError ? usageError(thrown) : thrown;
    printFailure(error, argv.includes('--json'));
    process.exitCode = exitCodeOf(error);
  }
}

export function buildProgram(): Command {
  const program = new Command('dwcp')
    .description('Moves running VMs between hosts and agrees on who owns them.')
    .version(packageVersion(), '--version')
    .helpOption('--help', 'how to use it, with an example')
    .showHelpAfterError(false)
    .exitOverride()
    .configureOutput({ outputError: () => {} });
  addDemoCommand(program);
  addAgentCommand(program);
  addStatusCommand(program);
  addVmCommands(program);
  addMigrateCommand(program);
  addLimitCommand(program);
  addModeCommand(program);
  addCancelCommand(program);
  addMigrationsCommand(program);
  addDoctorCommand(program);
  addSimCommands(program);
  addBenchCommand(program);
  addKeysCommands(program);
  return program;
}

function usageError(thrown: CommanderError): DwcpError {
  const helpShown = thrown.code === 'commander.help';
  const message = helpShown ? 'no command given' : thrown.message.replace(/^error: /, '');
  return new DwcpError('ERR_DWCP_USAGE', message, {
    hint: 'Run "dwcp --help", or "dwcp COMMAND --help" for one command with an example.',
  });
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
