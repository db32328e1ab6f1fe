/** A TCP client that may do anything: say nothing, talk nonsense, or join a link and then talk nonsense. */
import { connect, type Socket } from 'node:net';
import { FRAME_TYPE, frame, HEADER_BYTES } from './frames.ts';

const CHALLENGE_BYTES = 16;

export class RawPeer {
  readonly socket: Socket;
  /** Resolves when the other side has closed the connection. */
  readonly gone: Promise<void>;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('error', () => {});
    this.gone = new Promise((resolve) => this.socket.on('close', () => resolve()));
  }

  /** Answers the challenge; the listener of `pairUp` takes everybody in. */
  async join(): Promise<void> {
    await this.#take(HEADER_BYTES + CHALLENGE_BYTES);
    this.socket.write(frame({ type: FRAME_TYPE.join }, Buffer.from('hello')));
    await this.#take(HEADER_BYTES + 1);
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Reads and forgets what comes, so that an end is noticed. */
  drain(): void {
    this.socket.resume();
  }

  close(): void {
    this.socket.destroy();
  }

  #take(bytes: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const got = this.socket.read(bytes) as Buffer | null;
        if (got === null) return;
        this.socket.off('readable', look);
        resolve(got);
      };
      this.socket.on('readable', look);
      this.gone.then(() => reject(new Error('the connection was closed')));
    });
  }
}
