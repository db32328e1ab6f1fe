/** All findings about one machine, and how a person reads them. */
import { probeDataDirectory } from './data-directory.ts';
import type { Finding } from './finding.ts';
import { probeGuests } from './guests.ts';
import type { DoctorHost } from './host.ts';
import { probeMachine } from './machine.ts';
import { probeMemory } from './memory.ts';
import { probeNetwork } from './network.ts';

const MARKS = { ok: 'ok  ', warn: 'warn', missing: 'miss' } as const;
const NAME_WIDTH = 20;

export interface DoctorReport {
  /** Nothing that dwcp cannot do without is missing. */
  readonly ok: boolean;
  readonly findings: readonly Finding[];
}

export interface ExamineOptions {
  readonly dataDir: string;
}

export function examine(host: DoctorHost, options: ExamineOptions): DoctorReport {
  const findings = [
    ...probeMachine(host),
    ...probeMemory(host),
    probeDataDirectory(host, options.dataDir),
    ...probeNetwork(host),
    ...probeGuests(host),
  ];
  const ok = findings.every((finding) => !finding.required || finding.status !== 'missing');
  return { ok, findings };
}

export function formatReport(report: DoctorReport): string {
  const lines = report.findings.flatMap((finding) => [
    `${MARKS[finding.status]}  ${finding.name.padEnd(NAME_WIDTH)} ${finding.value}`,
    ...(finding.fix === null ? [] : [`      ${''.padEnd(NAME_WIDTH)} -> ${finding.fix}`]),
  ]);
  return lines.join('\n');
}
