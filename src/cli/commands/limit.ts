/** `dwcp limit`: the bandwidth of a running migration, or of everything sent to a peer. */
import type { Command } from 'commander';
import { DwcpError } from '../../util/errors.ts';
import { formatRate, parseBytes } from '../../util/units.ts';
import { addConnectionOptions, type ConnectionOptions, withAgent } from '../agent-connection.ts';
import { addCommand, printResult } from '../output.ts';

interface LimitOptions extends ConnectionOptions {
  readonly peer?: string;
  readonly maxBandwidth: string;
}

export function addLimitCommand(program: Command): void {
  const command = addCommand(
    program,
    'limit [id]',
    'change the bandwidth of a running migration, or of a link, at once',
    'dwcp limit 7f3a --max-bandwidth 200MiB/s --config agent.yaml\n  dwcp limit --peer host-b --max-bandwidth 1Gbit/s --config agent.yaml',
  )
    .requiredOption('--max-bandwidth <rate>', 'such as 200MiB/s; 0 lifts the limit')
    .option('--peer <node>', 'instead of a migration: all that is sent to this node');
  addConnectionOptions(command).action(async (id: string | undefined, options: LimitOptions) => {
    const { peer } = options;
    const maxBandwidth = parseBytes(options.maxBandwidth);
    const rate = maxBandwidth === 0 ? 'not limited' : `limited to ${formatRate(maxBandwidth)}`;
    if (id !== undefined && peer === undefined) {
      await withAgent(options, (client) => client.limitMigration(id, maxBandwidth));
      return printResult(options, { migrationId: id, maxBandwidth }, `migration ${id} is ${rate}`);
    }
    if (peer !== undefined && id === undefined) {
      await withAgent(options, (client) => client.setMaxBandwidth(peer, maxBandwidth));
      return printResult(options, { peer, maxBandwidth }, `the link to ${peer} is ${rate}`);
    }
    throw new DwcpError('ERR_DWCP_USAGE', 'limit needs the id of a migration, or --peer', {
      hint: 'See the ids with: dwcp migrations',
    });
  });
}
