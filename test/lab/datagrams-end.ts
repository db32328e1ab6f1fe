/**
 * A process at one end of a link. `receive`: prints `ready`, and once its input ends, the numbers that came, in
 * their order. `send ADDRESS COUNT BYTES`: numbered datagrams, in small steps, so that no buffer overflows.
 */
import { createSocket } from 'node:dgram';
import { setTimeout as delay } from 'node:timers/promises';

const PORT = 5300;
const RECEIVE_BUFFER_BYTES = 2 ** 22;
const STEP_DATAGRAMS = 50;
const STEP_MS = 5;
/** A receiver that reads nothing for so long has read everything. */
const QUIET_MS = 50;

async function send(address: string, count: number, bytes: number): Promise<void> {
  const socket = createSocket('udp4');
  for (let number = 0; number < count; number += 1) {
    const datagram = Buffer.alloc(bytes);
    datagram.writeUInt32BE(number);
    await new Promise<void>((resolve, reject) =>
      socket.send(datagram, PORT, address, (error) => (error ? reject(error) : resolve())),
    );
    if (number % STEP_DATAGRAMS === STEP_DATAGRAMS - 1) await delay(STEP_MS);
  }
  socket.close();
}

function receive(): void {
  const socket = createSocket({ type: 'udp4', recvBufferSize: RECEIVE_BUFFER_BYTES });
  const numbers: number[] = [];
  socket.on('message', (datagram) => numbers.push(datagram.readUInt32BE()));
  socket.bind(PORT, () => console.log('ready'));
  // What was delivered may still wait in the socket.
  const end = (known: number): void => {
    if (numbers.length > known) return void setTimeout(end, QUIET_MS, numbers.length);
    console.log(JSON.stringify(numbers));
    socket.close();
  };
  process.stdin.resume().once('end', () => setTimeout(end, QUIET_MS, -1));
}

const [verb, address = '', count, bytes] = process.argv.slice(2);
if (verb === 'send') await send(address, Number(count), Number(bytes));
else receive();
