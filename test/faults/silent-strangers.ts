/**
 * Run as a process of its own: opens connections that say nothing and holds them. Prints one JSON line
 * when all are open and one when the other side has closed them all; ends with its standard input.
 * Usage: silent-strangers PORT COUNT
 */
import { connect } from 'node:net';

const port = Number(process.argv[2]);
const count = Number(process.argv[3]);
const AT_ONCE = 200;

let started = 0;
let opened = 0;
let failed = 0;
let closed = 0;

function tell(what: string): void {
  process.stdout.write(`${JSON.stringify({ what, opened, failed, closed })}\n`);
}

function open(): void {
  if (started === count) return;
  started += 1;
  const socket = connect(port, '127.0.0.1');
  let connected = false;
  socket.on('connect', () => {
    connected = true;
    opened += 1;
    next();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    if (connected) {
      closed += 1;
      if (closed === count - failed) tell('closed');
    } else {
      failed += 1;
      next();
    }
  });
  socket.resume();
}

function next(): void {
  if (opened + failed === count) tell('opened');
  else open();
}

for (let i = 0; i < AT_ONCE; i++) open();
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
