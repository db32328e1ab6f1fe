import type { Command } from 'commander';
import { formatBytes } from '../../util/units.ts';
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
      formatBytes(peer.wireBytesSent),
      formatBytes(peer.wireBytesReceived),
    ]);
    const text = [
      `${status.node}: control port ${status.controlPort}, bulk port ${status.bulkPort}, up ${Math.round(status.uptimeMs / 1000)} s, ${status.guests.length} guests`,
      formatTable(['PEER', 'LINK', 'STREAMS', 'MODE', 'SENT', 'RECEIVED'], peers),
    ].join('\n');
    printResult(options, status, text);
  });
}
