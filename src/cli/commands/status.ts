import type { Command } from 'commander';
import type { ContentCacheCounters, GroupView, PeerStatus, Problem } from '../../node.ts';
import { formatBytes, formatRate } from '../../util/units.ts';
import { addConnectionOptions, type ConnectionOptions, withAgent } from '../agent-connection.ts';
import { addCommand, formatTable, printResult } from '../output.ts';

export function addStatusCommand(program: Command): void {
  const command = addCommand(
    program,
    'status',
    'the agent, its guests, its peers and its group',
    'dwcp status --config agent.yaml',
  );
  addConnectionOptions(command).action(async (options: ConnectionOptions) => {
    const status = await withAgent(options, (client) => client.status());
    const peers = status.peers.map((peer) => [
      peer.id,
      peer.connected ? 'connected' : 'down',
      String(peer.streams),
      peer.modePolicy === 'auto' ? peer.mode : `${peer.mode} (pinned)`,
      peer.encryption ?? '-',
      peer.transport ?? '-',
      peer.congestionControl ?? '-',
      peer.maxBandwidth === 0 ? '-' : formatRate(peer.maxBandwidth),
      formatBytes(peer.wireBytesSent),
      formatBytes(peer.wireBytesReceived),
    ]);
    const header = [
      ...[
        'PEER',
        'LINK',
        'STREAMS',
        'MODE',
        'ENCRYPTION',
        'TRANSPORT',
        'CONGESTION',
        'LIMIT',
        'SENT',
        'RECEIVED',
      ],
    ];
    const text = [
      `${status.node}: control port ${status.controlPort}, bulk port ${status.bulkPort}, up ${Math.round(status.uptimeMs / 1000)} s, ${status.guests.length} guests`,
      ...describeGroup(status.group),
      ...describeCache(status.contentCache),
      `dirty tracking of memory guests: ${status.dirtyTracking}`,
      formatTable(header, peers),
      ...status.peers.flatMap(describeFallback),
      ...status.peers.flatMap(({ id, problem }) => (problem === null ? [] : describe(id, problem))),
    ].join('\n');
    printResult(options, status, text);
  });
}

function describeGroup(group: GroupView): readonly string[] {
  const { voters, leader, term, commitIndex, appliedIndex, problem } = group;
  const line = `group ${voters.join(', ')}: leader ${leader ?? '-'}, term ${term}, commit ${commitIndex}, applied ${appliedIndex}`;
  return problem === null ? [line] : [line, `  ${problem}`];
}

function describeFallback({ id, transportFallback }: PeerStatus): readonly string[] {
  return transportFallback === null ? [] : [`${id}: no RDMA: ${transportFallback}`];
}

function describeCache(cache: ContentCacheCounters | null): readonly string[] {
  if (cache === null) return [];
  const { pages, bytes, bytesMax, hits, misses, savedBytes, corruptPages, writeErrors } = cache;
  const line = `content cache: ${pages} pages, ${formatBytes(bytes)} of ${formatBytes(bytesMax)}, ${hits} hits, ${misses} misses, ${formatBytes(savedBytes)} not sent to this host`;
  const troubles = [
    ...(corruptPages === 0 ? [] : [`${corruptPages} pages had rotted on disk and came whole`]),
    ...(writeErrors === 0 ? [] : [`${writeErrors} writes failed: is its disk full?`]),
  ];
  return [line, ...troubles.map((each) => `  ${each}`)];
}

function describe(peer: string, problem: Problem): readonly string[] {
  const line = `${peer}: ${problem.code}: ${problem.message}`;
  return problem.hint === null ? [line] : [line, `  ${problem.hint}`];
}
