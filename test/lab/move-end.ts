/** On host a of a link: three agents, of which b is on the other host, and a guest that moves from a to b. */
import { startDemoCluster } from '../../src/cli/demo/cluster.ts';
import { assert } from '../../src/util/assert.ts';

const [addressA = '', addressB = '', ...enterB] = process.argv.slice(2);
const MEMORY_BYTES = 48 * 2 ** 20;

const cluster = await startDemoCluster({
  hosts: { a: addressA, b: addressB, c: addressA },
  prefix: (node) => (node === 'b' ? enterB : []),
});
try {
  const client = cluster.clients.get('a');
  assert(client !== undefined, 'agent a runs');
  const isLinked = async () => (await client.status()).peers.every((peer) => peer.connected);
  while (!(await isLinked())) await new Promise((resolve) => setTimeout(resolve, 20));
  const guest = { memoryBytes: MEMORY_BYTES, dirtyBytesPerSec: 4 * 2 ** 20, zeroShare: 0 };
  await client.startGuest('memory', 'traveller', guest);
  const receipt = await client.migrate('traveller', { to: 'b' }, () => undefined);
  const at = await cluster.clients.get('b')?.guests();
  console.log(JSON.stringify({ ...receipt, guestsAtB: at?.map(({ name }) => name) }));
} finally {
  await cluster.stop();
}
