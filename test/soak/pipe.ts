/** One end of a named pipe that we hold for reading, looked at without ever waiting. */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync } from 'node:fs';

const READ_BYTES = 64 * 1024;

export class Pipe {
  readonly #fd: number;
  readonly #bytes = Buffer.alloc(READ_BYTES);
  #text = '';

  /** Held for writing too where writers come and go: a writer then always finds somebody. */
  constructor(path: string, holdsWriter: boolean) {
    const mode = holdsWriter ? constants.O_RDWR : constants.O_RDONLY;
    this.#fd = openSync(path, mode | constants.O_NONBLOCK);
  }

  /** Whole lines, all there are now. */
  lines(): readonly string[] {
    for (;;) {
      const got = this.#read();
      if (got === 0) break;
      this.#text += this.#bytes.toString('latin1', 0, got);
    }
    const lines = this.#text.split('\n');
    this.#text = lines.pop() ?? '';
    return lines;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #read(): number {
    try {
      return readSync(this.#fd, this.#bytes, 0, READ_BYTES, null);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
      throw error;
    }
  }
}

export function makePipe(path: string): void {
  execFileSync('mkfifo', ['-m', '600', path]);
}
