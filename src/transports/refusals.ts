import type { RefusedConnections } from '../ports/transport.ts';
import type { DwcpError } from '../util/errors.ts';

const GATHERED_MS = 1000;

interface Gathered {
  count: number;
  error: DwcpError;
}

/** Tells the first refusal of a code at once and gathers those that follow, so that a flood is one line a second. */
export class Refusals {
  readonly #tell: (refused: RefusedConnections) => void;
  /** By code, while nothing more of it is told; null until another one came. */
  readonly #gathered = new Map<string, Gathered | null>();

  constructor(tell: (refused: RefusedConnections) => void) {
    this.#tell = tell;
  }

  add(error: DwcpError): void {
    const gathered = this.#gathered.get(error.code);
    if (gathered === undefined) this.#report({ count: 1, error });
    else this.#gathered.set(error.code, { count: (gathered?.count ?? 0) + 1, error });
  }

  #report(refused: RefusedConnections): void {
    const { code } = refused.error;
    this.#gathered.set(code, null);
    setTimeout(() => {
      const gathered = this.#gathered.get(code);
      this.#gathered.delete(code);
      if (gathered) this.#report(gathered);
    }, GATHERED_MS).unref();
    this.#tell(refused);
  }
}
