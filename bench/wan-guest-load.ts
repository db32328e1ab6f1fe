/**
 * The process that is the guest's client, on the client's host: it fills the guest, and then keeps asking it on
 * one connection for as long as it is told. What the guest answers must be what was written to it; the longest
 * time without an answer is the downtime that a client sees.
 */
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { GuestClient, type GuestPlace, type GuestReply } from './wan-guest-client.ts';
import { randomOf, realFiles, Values } from './wan-guest-content.ts';

export interface FillPlan {
  readonly type: 'fill';
  readonly at: GuestPlace;
  readonly seed: number;
  /** Files that every VM of one image has; another seed, another VM of the image. */
  readonly imageSeed: number;
  readonly fileBytes: number;
  /** Keeps which files of this machine they are made of. */
  readonly listPath: string;
  /** Values come until the guest has no more than this. */
  readonly freeBytesLeft: number;
}

export interface LoadPlan {
  readonly type: 'load';
  readonly at: GuestPlace;
  readonly seed: number;
  readonly operationsPerSec: number;
  /** That of {@link FillPlan}. */
  readonly listPath: string;
  /** Of all operations; the others read. */
  readonly writeShare: number;
  /** Remembers, between processes, what was written how often. */
  readonly versionsPath: string;
}

export type LoadCommand = FillPlan | LoadPlan | { readonly type: 'mark' | 'report' | 'end' };

export interface LoadReport {
  readonly operations: number;
  /** Since the last mark, up to now. */
  readonly longestGapMs: number;
  /** Answers that were not what was written: none, or the memory is not what it was. */
  readonly fault: string | null;
}

export type LoadSaid =
  | { readonly type: 'filled'; readonly fileBytes: number; readonly valueBytes: number }
  | { readonly type: 'loading' | 'marked' | 'ended' }
  | ({ readonly type: 'report' } & LoadReport)
  | { readonly type: 'failed'; readonly error: string };

const BOOT_WITHIN_MS = 180_000;
const PART_BYTES = 256 * 1024;
const AHEAD = 32;
/** Rewritten and read under load: about 20 MiB. */
const RECORDS = 10_000;
const OUTSTANDING_MAX = 64;
const STEP_MS = 5;
const VALUES_PER_LOOK = 500;

/** Records first: they have to be there, whatever else finds room. */
async function fill(client: GuestClient, plan: FillPlan): Promise<LoadSaid> {
  const values = new Values(plan.seed, plan.listPath);
  let valueBytes = 0;
  const putSome = async (from: number, count: number, of: (at: number) => [string, Buffer]) => {
    const replies = Array.from({ length: count }, (_, at) => {
      const [key, value] = of(from + at);
      valueBytes += value.length;
      return client.ask('put', key, value);
    });
    return (await Promise.all(replies)).some((reply) => reply.isFull);
  };
  for (let index = 0; index < RECORDS; index += AHEAD) {
    const count = Math.min(AHEAD, RECORDS - index);
    if (await putSome(index, count, (at) => [`record-${at}`, values.record(at, 0)])) {
      return { type: 'failed', error: 'the guest has no room for the records' };
    }
  }
  const fileBytes = await fillFiles(client, plan);
  for (let index = 0; ; index += AHEAD) {
    if (await putSome(index, AHEAD, (at) => [`value-${at}`, values.of(at)])) break;
    if (index % VALUES_PER_LOOK < AHEAD && (await freeBytes(client)) < plan.freeBytesLeft) break;
  }
  return { type: 'filled', fileBytes, valueBytes };
}

async function fillFiles(
  client: GuestClient,
  { imageSeed, fileBytes, listPath }: FillPlan,
): Promise<number> {
  let sent = 0;
  for (const [index, path] of realFiles(imageSeed, listPath).entries()) {
    if (sent >= fileBytes) break;
    const fd = openSync(path, 'r');
    for (;;) {
      const part = Buffer.alloc(PART_BYTES);
      const got = readSync(fd, part, 0, PART_BYTES, null);
      if (got === 0) break;
      const reply = client.ask('append', `file-${index}`, part.subarray(0, got));
      sent += got;
      if (client.outstanding >= AHEAD && (await reply).isFull) return sent;
    }
    closeSync(fd);
  }
  await client.ask('memory');
  return sent;
}

async function freeBytes(client: GuestClient): Promise<number> {
  const { value } = await client.ask('memory');
  return Number(/MemFree:\s+(\d+) kB/.exec(value?.toString('latin1') ?? '')?.[1] ?? 0) * 1024;
}

class Load {
  readonly #client: GuestClient;
  readonly #plan: LoadPlan;
  readonly #values: Values;
  readonly #random: () => number;
  readonly #versions: number[];
  readonly #timer: NodeJS.Timeout;
  #startedAtMs = performance.now();
  #issued = 0;
  #operations = 0;
  #lastAtMs = performance.now();
  #longestGapMs = 0;
  #fault: string | null = null;

  constructor(client: GuestClient, plan: LoadPlan) {
    this.#client = client;
    this.#plan = plan;
    this.#values = new Values(plan.seed, plan.listPath);
    this.#random = randomOf(Math.trunc(performance.timeOrigin));
    this.#versions = JSON.parse(readFileSync(plan.versionsPath, 'utf8')) as number[];
    this.#timer = setInterval(() => this.#step(), STEP_MS);
  }

  mark(): void {
    this.#longestGapMs = 0;
  }

  report(): LoadReport {
    const gapMs = Math.max(this.#longestGapMs, performance.now() - this.#lastAtMs);
    return { operations: this.#operations, longestGapMs: gapMs, fault: this.#fault };
  }

  /** Once every request is answered: what was written is then known. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#client.ask('memory');
    writeFileSync(this.#plan.versionsPath, JSON.stringify(this.#versions));
  }

  #step(): void {
    const dueMs = performance.now() - this.#startedAtMs;
    const due = (dueMs / 1000) * this.#plan.operationsPerSec;
    for (; this.#issued < due; this.#issued += 1) {
      // A guest that stands still is not owed what was not asked of it.
      if (this.#client.outstanding < OUTSTANDING_MAX) this.#issue();
    }
  }

  #issue(): void {
    const index = this.#random() % RECORDS;
    const key = `record-${index}`;
    if (this.#random() % 1000 < this.#plan.writeShare * 1000) {
      const version = (this.#versions[index] ?? 0) + 1;
      this.#versions[index] = version;
      const reply = this.#client.ask('put', key, this.#values.record(index, version));
      this.#settle(reply, (isRight) => !isRight.isFull, `put ${key}`);
    } else {
      // Requests are answered in their order, so this is what was written before it was asked.
      const wanted = this.#values.record(index, this.#versions[index] ?? 0);
      const reply = this.#client.ask('get', key);
      this.#settle(reply, ({ value }) => value?.equals(wanted) === true, `get ${key}`);
    }
  }

  #settle(reply: Promise<GuestReply>, isRight: (reply: GuestReply) => boolean, what: string): void {
    reply.then(
      (said) => {
        const nowMs = performance.now();
        this.#longestGapMs = Math.max(this.#longestGapMs, nowMs - this.#lastAtMs);
        this.#lastAtMs = nowMs;
        this.#operations += 1;
        if (!isRight(said)) this.#fault ??= `${what} was answered wrongly`;
      },
      (error: Error) => {
        this.#fault ??= `${what}: ${error.message}`;
      },
    );
  }
}

let client: GuestClient | null = null;
let load: Load | null = null;

async function obey(command: LoadCommand): Promise<LoadSaid> {
  switch (command.type) {
    case 'fill':
      client ??= await GuestClient.connect(command.at, BOOT_WITHIN_MS);
      return await fill(client, command);
    case 'load':
      client ??= await GuestClient.connect(command.at, BOOT_WITHIN_MS);
      load = new Load(client, command);
      return { type: 'loading' };
    case 'mark':
      load?.mark();
      return { type: 'marked' };
    case 'report':
      return {
        type: 'report',
        operations: 0,
        longestGapMs: 0,
        fault: 'no load',
        ...load?.report(),
      };
    case 'end':
      await load?.stop();
      client?.close();
      return { type: 'ended' };
  }
}

process.on('message', (command: LoadCommand) => {
  obey(command)
    .catch((error: Error): LoadSaid => ({ type: 'failed', error: error.message }))
    .then((said) => {
      process.send?.(said, () => {
        if (said.type === 'ended' || said.type === 'failed') process.exit();
      });
    });
});
process.on('disconnect', () => process.exit());
