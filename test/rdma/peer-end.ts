/** The far end of a test: listens at the address of an RDMA device, lands what comes, and lives until it is killed. */
import { createRegion } from '../../src/native.ts';
import { createNativeBulkTransport } from '../../src/transports/native-bulk.ts';

const [host = '', sizeBytes = '0'] = process.argv.slice(2);
const transport = createNativeBulkTransport({ ioThreads: 2 });
const link = transport.openLink({ peer: 'a', windowBytes: 2 ** 24, chunkBytes: 2 ** 18 });
link.setRdma('require', '');
const region = createRegion({ name: 'to', sizeBytes: Number(sizeBytes), hugePages: false });
link.receivePages({ transferId: 42, epoch: 1, region }, () => {});
const listened = transport.listen({ host, port: 0 }, (stream) => {
  stream.subscribe((event) => {
    if (event.type !== 'join') return;
    stream.sendJoin(Uint8Array.of(1));
    stream.attach(link);
  });
});
if (!listened.ok) throw listened.error;
process.stdout.write(`${listened.value.port}\n`);
