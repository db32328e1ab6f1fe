/** `dwcp doctor`: what this machine can do, found by trying it, and what gets the missing rest. */
import type { Command } from 'commander';
import type { Finding } from '../doctor/finding.ts';
import { probeGuests } from '../doctor/guests.ts';
import { probeMachine } from '../doctor/machine.ts';
import { probeMemory } from '../doctor/memory.ts';
import { probeNetwork } from '../doctor/network.ts';
import { addCommand, type JsonOption, printResult } from '../output.ts';

const MARKS = { ok: 'ok  ', warning: 'warn', missing: 'miss' } as const;

export function addDoctorCommand(program: Command): void {
  addCommand(
    program,
    'doctor',
    'what this machine can do, and what is missing with the command that gets it',
    'dwcp doctor --json',
  ).action(async (options: JsonOption) => {
    const findings = [
      ...probeMachine(),
      ...(await probeMemory()),
      ...probeNetwork(),
      ...probeGuests(),
    ];
    const required = findings.filter((finding) => finding.required && finding.status === 'missing');
    printResult(options, { ok: required.length === 0, findings }, formatFindings(findings));
    if (required.length > 0) process.exitCode = 1;
  });
}

function formatFindings(findings: readonly Finding[]): string {
  const lines = findings.flatMap((finding) => [
    `${MARKS[finding.status]}  ${finding.name.padEnd(22)} ${finding.value}`,
    ...(finding.fix === null ? [] : [`      ${''.padEnd(22)} -> ${finding.fix}`]),
  ]);
  return lines.join('\n');
}
