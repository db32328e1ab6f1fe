/**
 * `dwcp agent` that stops at a named step: the shipped agent and the shipped ports, with steps watched
 * from outside (`test/integration/faults/faulty-parts.ts`). `--test-failpoints FILE` names the file in
 * which a step is armed, `--list` prints the steps, `--dial-through PREFIX` dials every peer at that
 * prefix and the last number of its address.
 */
import { Command } from 'commander';
import type { NodeParts } from '../../src/actors/node-start.ts';
import { startNodeFrom } from '../../src/actors/node-start.ts';
import { realParts } from '../../src/actors/real-parts.ts';
import { addAgentCommand } from '../../src/cli/commands/agent.ts';
import { type Library, loadLibrary } from '../../src/cli/library.ts';
import type { GuestHandle } from '../../src/node.ts';
import type { HostPort } from '../../src/ports/transport.ts';
import { assert } from '../../src/util/assert.ts';
import { faultyParts } from '../integration/faults/faulty-parts.ts';
import { stepsOf } from './steps.ts';

interface Flags {
  readonly testFailpoints?: string;
  readonly dialThrough?: string;
}

async function library(flags: Flags): Promise<Library> {
  const loaded = await loadLibrary();
  assert(flags.testFailpoints !== undefined, '--test-failpoints names the file of the step');
  const { wrap, wrapGuest } = faultyParts(flags.testFailpoints);
  const wrapHandle = (handle: GuestHandle): GuestHandle => ({
    ...handle,
    open: async (host) => wrapGuest(await handle.open(host)),
  });
  return {
    ...loaded,
    startNode: (options) =>
      startNodeFrom(options, wrap(dialling(realParts(options), flags.dialThrough))),
    memoryGuest: (options) => wrapHandle(loaded.memoryGuest(options)),
    qemuGuest: (options) => wrapHandle(loaded.qemuGuest(options)),
  };
}

/** The way from this host to each other one, which the soak can cut. */
function dialling(parts: NodeParts, prefix: string | undefined): NodeParts {
  if (prefix === undefined) return parts;
  const through = ({ host, port }: HostPort): HostPort => ({
    host: `${prefix}.${host.split('.').at(-1)}`,
    port,
  });
  const { bulk } = parts;
  return {
    ...parts,
    bulk: {
      listen: (...args) => bulk.listen(...args),
      dial: (options) => bulk.dial({ ...options, address: through(options.address) }),
      openLink: (options) => bulk.openLink(options),
      contentCache: () => bulk.contentCache(),
      close: () => bulk.close(),
    },
    makeControl: (identity) => {
      const control = parts.makeControl(identity);
      return {
        listen: (...args) => control.listen(...args),
        dial: (address, peer, done) => control.dial(through(address), peer, done),
      };
    },
  };
}

const program = new Command('failpoint-agent')
  .option('--list', 'print the steps')
  .action((options: { readonly list?: true }, command: Command) => {
    if (options.list !== true) command.help();
    for (const kind of ['memory', 'qemu'] as const) {
      for (const { side, step } of stepsOf(kind)) console.log(`${kind}  ${side}  ${step}`);
    }
  });
let flags: Flags = {};
addAgentCommand(program, () => library(flags));
program.commands
  .find((command) => command.name() === 'agent')
  ?.option('--test-failpoints <file>', 'where a step is armed')
  .option('--dial-through <prefix>', 'such as 127.7.1')
  .hook('preAction', (command) => {
    flags = command.opts<Flags>();
  });
await program.parseAsync(process.argv);
