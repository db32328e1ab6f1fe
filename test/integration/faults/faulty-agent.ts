/** `dwcp agent` with a fail point: the shipped agent and the shipped ports, with steps watched. */
import { Command } from 'commander';
import { startNodeFrom } from '../../../src/actors/node-start.ts';
import { realParts } from '../../../src/actors/real-parts.ts';
import { addAgentCommand } from '../../../src/cli/commands/agent.ts';
import { type Library, loadLibrary } from '../../../src/cli/library.ts';
import type { GuestHandle } from '../../../src/node.ts';
import { assert } from '../../../src/util/assert.ts';
import { faultyParts } from './faulty-parts.ts';

const failPointFile = process.env['DWCP_FAIL_POINT'];
assert(failPointFile !== undefined, 'DWCP_FAIL_POINT names the file of the fail point');

async function faultyLibrary(path: string): Promise<Library> {
  const library = await loadLibrary();
  const { wrap, wrapGuest } = faultyParts(path);
  const wrapHandle = (handle: GuestHandle): GuestHandle => ({
    ...handle,
    open: async (host) => wrapGuest(await handle.open(host)),
  });
  return {
    ...library,
    startNode: (options) => startNodeFrom(options, wrap(realParts(options))),
    memoryGuest: (options) => wrapHandle(library.memoryGuest(options)),
    qemuGuest: (options) => wrapHandle(library.qemuGuest(options)),
  };
}

const program = new Command('faulty-agent');
addAgentCommand(program, () => faultyLibrary(failPointFile));
await program.parseAsync(process.argv);
