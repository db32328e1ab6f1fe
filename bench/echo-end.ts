/** Answers every so many bytes with one: the other end of a measured round trip. */
import { type AddressInfo, createServer } from 'node:net';

const bytes = Number(process.argv[2]);
const server = createServer((socket) => {
  let got = 0;
  socket.setNoDelay(true);
  socket.on('data', (piece) => {
    got += piece.length;
    if (got < bytes) return;
    got -= bytes;
    socket.write('.');
  });
});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
