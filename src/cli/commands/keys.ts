/** `dwcp keys init` and `dwcp keys issue NODE`: the cluster's own certificate authority. */

import { join } from 'node:path';
import type { Command } from 'commander';
import { createAuthority, issueNode } from '../../identity/authority.ts';
import { loadAuthority, saveAuthority, saveNode } from '../../identity/files.ts';
import { addCommand, type JsonOption, printResult } from '../output.ts';

interface KeysOptions extends JsonOption {
  readonly dir: string;
  readonly out?: string;
}

const DIRECTORY = './dwcp-keys';

export function addKeysCommands(program: Command): void {
  const keys = program.command('keys').description('certificates of the cluster');
  keys.addHelpText('after', '\nExample:\n  dwcp keys init && dwcp keys issue host-a');
  addCommand(keys, 'init', 'make the certificate authority', 'dwcp keys init --dir ./dwcp-keys')
    .option('--dir <directory>', 'where the authority lives', DIRECTORY)
    .action(async (options: KeysOptions) => {
      saveAuthority(options.dir, await createAuthority());
      const certificate = join(options.dir, 'ca.pem');
      const key = join(options.dir, 'ca.key.pem');
      printResult(
        options,
        { caFile: certificate, caKeyFile: key },
        `${certificate}: give it to every node\n${key}: keep it away from them`,
      );
    });
  addCommand(
    keys,
    'issue <node>',
    'make the key and certificate of a node, or of an operator',
    'dwcp keys issue host-a --dir ./dwcp-keys --out ./host-a',
  )
    .option('--dir <directory>', 'where the authority lives', DIRECTORY)
    .option('--out <directory>', 'where to write; default is NODE inside the authority')
    .action(async (node: string, options: KeysOptions) => {
      const identity = await issueNode(loadAuthority(options.dir), node);
      const files = saveNode(options.out ?? join(options.dir, node), identity);
      printResult(options, files, Object.values(files).join('\n'));
    });
}
