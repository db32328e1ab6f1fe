/** How far every voter is, as a picture: the longer the bar, the more voters are behind it. */
import type { Configuration, ReplicaId } from './types.ts';

/**
 * One line per voter of either half, by id. `?` has acknowledged nothing yet.
 *
 *       idx
 *   x>   11    (id=1)
 *   ?     0    (id=2)
 */
export function describe(
  configuration: Configuration,
  acked: ReadonlyMap<ReplicaId, number>,
): string {
  const ids = [...new Set([...configuration.voters, ...configuration.votersOutgoing])];
  if (ids.length === 0) return '<empty majority quorum>';
  const rows = ids.sort((a, b) => a - b).map((id) => ({ id, index: acked.get(id) ?? 0 }));
  const width = rows.length;
  const lines = rows.map(({ id, index }) => {
    const behind = rows.filter((other) => other.index < index).length;
    const bar = acked.has(id) ? `${'x'.repeat(behind)}>${' '.repeat(width - behind)}` : null;
    return `${bar ?? `?${' '.repeat(width)}`} ${String(index).padStart(5)}    (id=${id})\n`;
  });
  return `${' '.repeat(width)}    idx\n${lines.join('')}`;
}
