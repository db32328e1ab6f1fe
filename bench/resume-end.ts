/** The moving end of the bench `resume`: agents as processes on two hosts of the lab, and what befalls them. */
import { setTimeout as delay } from 'node:timers/promises';
import { type DemoCluster, startDemoCluster } from '../src/cli/demo/cluster.ts';
import type { MigrationReceipt } from '../src/node.ts';
import { assert } from '../src/util/assert.ts';

export type Accident = 'cut' | 'destination' | 'source';

/** What this process is told, as JSON. */
export interface ResumeInside {
  readonly addresses: { readonly a: string; readonly b: string };
  readonly enterB: readonly string[];
  readonly windowBytes: number;
  readonly memoryBytes: number;
  readonly dirtyBytesPerSec: number;
}

export type ResumeQuestion =
  | { readonly type: 'move'; readonly accident: Accident; readonly share: number }
  | { readonly type: 'done' };

export interface ResumeMove {
  /** Distinct pages that the guest wrote from the request until it was moved, second by second. */
  readonly writtenBytes: number;
  readonly heldPages: number;
}

export type ResumeAnswer =
  | { readonly type: 'ready' }
  | { readonly type: 'cut'; readonly isCut: boolean }
  | { readonly type: 'moved'; readonly move: ResumeMove }
  | { readonly type: 'failed'; readonly message: string };

/** Longer than it takes to find out. */
const CUT_MS = 7_000;
const WITHIN_MS = 60_000;
const POLL_MS = 50;

class ResumeEnd {
  readonly #inside: ResumeInside;
  readonly #cluster: DemoCluster;
  #moves = 0;
  #onDone: () => void = () => {};

  constructor(inside: ResumeInside, cluster: DemoCluster) {
    this.#inside = inside;
    this.#cluster = cluster;
  }

  hear(question: ResumeQuestion): void {
    if (question.type === 'done') return this.#onDone();
    this.#move(question.accident, question.share).then(
      (move) => tell({ type: 'moved', move }),
      (error: unknown) => tell({ type: 'failed', message: String(error) }),
    );
  }

  async #move(accident: Accident, share: number): Promise<ResumeMove> {
    const { memoryBytes, dirtyBytesPerSec } = this.#inside;
    this.#moves += 1;
    const name = `vm${this.#moves}`;
    await this.#until('a and b find each other', async () => {
      const { peers } = await this.#client('a').status();
      return peers.some((peer) => peer.id === 'b' && peer.connected);
    });
    const guest = { memoryBytes, dirtyBytesPerSec, zeroShare: 0 };
    await this.#client('a').startGuest('memory', name, guest);
    const startedMs = performance.now();
    let strike: Promise<void> | null = null;
    const strikeAt = share * memoryBytes;
    const ended = this.#client('a')
      .migrate(name, { to: 'b' }, ({ ackedBytes }) => {
        if (ackedBytes >= strikeAt) strike ??= this.#strike(accident);
      })
      // Whoever asked the killed source hears that nobody answers.
      .catch((error: unknown) => (accident === 'source' ? null : Promise.reject(error)));
    const receipt = (await ended) ?? (await this.#receiptOf(name));
    assert(strike !== null, 'it was struck on the way');
    await strike;
    assert(receipt.verified === true, 'the memory that landed is the memory that was frozen');
    assert(receipt.cuts + receipt.restarts > 0, 'it was interrupted and went on');
    const seconds = (performance.now() - startedMs) / 1000;
    await this.#end(name);
    const { heldPages } = receipt;
    return { writtenBytes: dirtyBytesPerSec * seconds, heldPages };
  }

  async #strike(accident: Accident): Promise<void> {
    if (accident === 'cut') {
      await this.#cut(true);
      await delay(CUT_MS);
      return await this.#cut(false);
    }
    const node = accident === 'source' ? 'a' : 'b';
    await this.#cluster.crash(node);
    await this.#cluster.restart(node);
  }

  #cut(isCut: boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#onDone = resolve;
      tell({ type: 'cut', isCut });
    });
  }

  async #receiptOf(guest: string): Promise<MigrationReceipt> {
    let receipt: MigrationReceipt | null = null;
    await this.#until(`"${guest}" is moved`, async () => {
      const all = await this.#client('a')
        .migrations()
        .catch(() => []);
      receipt = all.find((each) => each.guest === guest)?.receipt ?? null;
      return receipt !== null;
    });
    assert(receipt !== null, 'a move that completed has a receipt');
    return receipt;
  }

  async #end(name: string): Promise<void> {
    await this.#until(`"${name}" ends`, async () => {
      const guests = await this.#client('b').guests();
      const guest = guests.find((each) => each.name === name);
      if (guest !== undefined) process.kill(guest.pid, 'SIGKILL');
      return guest === undefined;
    });
  }

  async #until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const untilMs = performance.now() + WITHIN_MS;
    while (!(await holds())) {
      assert(performance.now() < untilMs, `not in time: ${what}`);
      await delay(POLL_MS);
    }
  }

  #client(node: string) {
    const client = this.#cluster.clients.get(node);
    assert(client !== undefined, `agent ${node} runs`);
    return client;
  }
}

function tell(answer: ResumeAnswer): void {
  if (process.connected) process.send?.(answer);
}

const inside = JSON.parse(process.argv[2] ?? '') as ResumeInside;
const { addresses, enterB, windowBytes } = inside;
const cluster = await startDemoCluster({
  hosts: { a: addresses.a, b: addresses.b, c: addresses.a },
  prefix: (node) => (node === 'b' ? enterB : []),
  // No codec, so that bytes on the link are bytes of pages; small chunks, so that shares can be met.
  settings: { link: { mode: 'datacenter', streams: 4, chunkBytes: '256KiB', windowBytes } },
});
const end = new ResumeEnd(inside, cluster);
process.on('message', (question) => end.hear(question as ResumeQuestion));
process.once('disconnect', () => void cluster.stop());
tell({ type: 'ready' });
