import type { Command } from 'commander';
import type { Problem } from '../../node.ts';
import { formatBytes, formatRate } from '../../util/units.ts';
import { addConnectionOptions, type ConnectionOptions, withAgent } from '../agent-connection.ts';
import { addCommand, formatTable, printResult } from '../output.ts';

export function addStatusCommand(program: Command): void {
  const command = addCommand(
    program,
    'status',
    'the agent, its guests and its peers',
    'dwcp status --config agent.yaml',
  );
  addConnectionOptions(command).action(async (options: ConnectionOptions) => {
    const status = await withAgent(options, (client) => client.status());
    const peers = status.peers.map((peer) => [
      peer.id,
      peer.connected ? 'connected' : 'down',
      String(peer.streams),
      peer.mode,
      peer.congestionControl ?? '-',
      peer.maxBandwidth === 0 ? '-' : formatRate(peer.maxBandwidth),
      formatBytes(peer.wireBytesSent),
      formatBytes(peer.wireBytesReceived),
    ]);
    const header = [
      ...['PEER', 'LINK', 'STREAMS', 'MODE', 'CONGESTION', 'LIMIT', 'SENT', 'RECEIVED'],
    ];
    const text = [
      `${status.node}: control port ${status.controlPort}, bulk port ${status.bulkPort}, up ${Math.round(status.uptimeMs / 1000)} s, ${status.guests.length} guests`,
      formatTable(header, peers),
      ...status.peers.flatMap(({ id, problem }) => (problem === null ? [] : describe(id, problem))),
    ].join('\n');
    printResult(options, status, text);
  });
}

function describe(peer: string, problem: Problem): readonly string[] {
  const line = `${peer}: ${problem.code}: ${problem.message}`;
  return problem.hint === null ? [line] : [line, `  ${problem.hint}`];
}
