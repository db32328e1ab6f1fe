/** `dwcp mode`: pins the mode of a link, or lets it follow what is measured. */
import type { Command } from 'commander';
import { LINK_MODES, type LinkMode } from '../../ports/link-mode.ts';
import { DwcpError } from '../../util/errors.ts';
import { addConnectionOptions, type ConnectionOptions, withAgent } from '../agent-connection.ts';
import { addCommand, printResult } from '../output.ts';

interface ModeOptions extends ConnectionOptions {
  readonly force?: string;
  readonly auto?: true;
}

export function addModeCommand(program: Command): void {
  const command = addCommand(
    program,
    'mode <peer>',
    'pin the mode of a link, or let it follow what is measured; kept over restarts',
    'dwcp mode host-b --force internet --config agent.yaml\n  dwcp mode host-b --auto --config agent.yaml',
  )
    .option('--force <mode>', LINK_MODES.join(', '))
    .option('--auto', 'follow what is measured');
  addConnectionOptions(command).action(async (peer: string, options: ModeOptions) => {
    const policy = policyOf(options);
    await withAgent(options, (client) => client.setLinkMode(peer, policy));
    const text = policy === 'auto' ? 'follows what is measured' : `is pinned to ${policy}`;
    printResult(options, { peer, policy }, `the mode of the link to ${peer} ${text}`);
  });
}

function policyOf({ force, auto }: ModeOptions): LinkMode | 'auto' {
  if (auto === true && force === undefined) return 'auto';
  const mode = LINK_MODES.find((each) => each === force);
  if (mode !== undefined && auto === undefined) return mode;
  throw new DwcpError('ERR_DWCP_USAGE', 'mode needs either --force MODE or --auto', {
    hint: `Modes: ${LINK_MODES.join(', ')}.`,
  });
}
