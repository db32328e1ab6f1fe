/** `dwcp doctor`: what this machine can do, found by trying it, and what gets the missing rest. */
import type { Command } from 'commander';
import { thisHost } from '../doctor/host.ts';
import { examine, formatReport } from '../doctor/report.ts';
import { addCommand, type JsonOption, printResult } from '../output.ts';

interface DoctorOptions extends JsonOption {
  readonly dataDir: string;
}

export function addDoctorCommand(program: Command): void {
  addCommand(
    program,
    'doctor',
    'what this machine can do, and what is missing with the command that gets it',
    'dwcp doctor --json',
  )
    .option('--data-dir DIR', "where this host's agent keeps its data", '/var/lib/dwcp')
    .action((options: DoctorOptions) => {
      const report = examine(thisHost(), { dataDir: options.dataDir });
      printResult(options, report, formatReport(report));
      if (!report.ok) process.exitCode = 1;
    });
}
