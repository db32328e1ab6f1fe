/** What went wrong with migrations, below the table that lists them: a code in a column helps nobody. */
import type { MigrationStatus } from '../node.ts';

export function withFaults(table: string, migrations: readonly MigrationStatus[]): string {
  const faults = migrations.flatMap(({ guest, migrationId, error }) => {
    if (error === null) return [];
    const hint = error.hint === null ? [] : [`  ${error.hint}`];
    return [`${guest} (${migrationId}) ${error.code}: ${error.message}`, ...hint];
  });
  return faults.length === 0 ? table : [table, '', ...faults].join('\n');
}
