/**
 * A host agent that embeds dwcp, and a guest that moves.
 *
 *   npx dwcp keys init && npx dwcp keys issue host-a && npx dwcp keys issue host-b
 *   node embed.js ./dwcp-keys
 *
 * Two hosts share this process so that the example fits on a page. In life each host starts one node, with its
 * own data directory on a disk, a certificate of its own and the other's address.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DwcpNode, memoryGuest, type PeerStatus, startNode } from 'dwcp';

const keys = process.argv[2] ?? './dwcp-keys';
const data = mkdtempSync(join(tmpdir(), 'dwcp-embed-'));

await moveGuest();
rmSync(data, { recursive: true });

async function moveGuest(): Promise<void> {
  // Stopped in reverse order when this function ends, however it ends. Guests live on: they are the host's.
  await using hostB = await start('host-b', { id: 'host-a', host: '127.0.0.1', port: 1 });
  const { controlPort } = hostB.address;
  await using hostA = await start('host-a', { id: 'host-b', host: '127.0.0.1', port: controlPort });
  await linked(hostA);

  const options = { name: 'vm1', memoryBytes: 64 * 2 ** 20, dirtyBytesPerSec: 8 * 2 ** 20 };
  const guest = await hostA.adopt(memoryGuest(options));
  const session = hostA.migrate(guest, { to: 'host-b', maxDowntimeMs: 300 });
  session.progress$.subscribe(({ phase, round, ackedBytes }) =>
    console.error(`${phase}, round ${round}: ${ackedBytes} bytes arrived`),
  );
  const receipt = await session.done;
  console.log(JSON.stringify({ verified: receipt.verified, from: receipt.from, to: receipt.to }));

  for (const { pid } of hostB.guests()) process.kill(pid);
}

/** Every failure of dwcp is a `DwcpError`: its `code` is stable, its `hint` says what to do. */
function start(id: string, peer: { id: string; host: string; port: number }): Promise<DwcpNode> {
  const listen = { host: '127.0.0.1', port: 0 };
  const identity = {
    certFile: join(keys, id, `${id}.pem`),
    keyFile: join(keys, id, `${id}.key.pem`),
    caFile: join(keys, id, 'ca.pem'),
  };
  return startNode({ id, listen, peers: [peer], dataDir: join(data, id), identity });
}

/** Links come up by themselves and come back after a fault. */
function linked(node: DwcpNode): Promise<void> {
  const isUp = (peer: PeerStatus) => peer.connected;
  return new Promise((resolve) => {
    const subscription = node.events$.subscribe(() => {
      if (!node.peers().every(isUp)) return;
      subscription.unsubscribe();
      resolve();
    });
  });
}
