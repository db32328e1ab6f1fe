/**
 * What an interruption costs: a move of a memory guest over a link of the lab, cut or bereft of an agent at
 * 10, 50 and 90 % of its first round. Bytes are counted on the link, without the headers of IP and TCP; what
 * was sent beyond the memory once is compared with what the guest wrote meanwhile and one window.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { assert } from '../src/util/assert.ts';
import { DwcpError } from '../src/util/errors.ts';
import type { Bench, BenchDocument, BenchResult, BenchRunOptions } from './document.ts';
import { benchDocument, formatFigure } from './harness.ts';
import { cleanedUp } from './interruption.ts';
import { link } from './lab/profiles.ts';
import { type Wan, withWan } from './lab/wan.ts';
import type {
  Accident,
  ResumeAnswer,
  ResumeInside,
  ResumeMove,
  ResumeQuestion,
} from './resume-end.ts';
import { atMost, summarize } from './statistics.ts';

const MIB = 2 ** 20;
const SHAPE = link({ rateBitsPerSec: 200e6, roundTripMs: 20, queueBytes: MIB });
const WINDOW_BYTES = 4 * MIB;
/** IP and TCP, with timestamps. */
const HEADER_BYTES = 52;
const PROGRAM = fileURLToPath(new URL('./resume-end.js', import.meta.url));

export const resumeBench: Bench = {
  name: 'resume',
  describe: 'bytes sent again when the network is cut or an agent dies in the middle of a move',
  run: async (options) => runResumeBench(options),
};

interface Cell {
  readonly accident: Accident;
  readonly share: number;
  readonly ratios: number[];
  readonly extraBytes: number[];
}

async function runResumeBench(options: BenchRunOptions): Promise<BenchDocument> {
  const shares = options.quick ? [0.5] : [0.1, 0.5, 0.9];
  const accidents: readonly Accident[] = ['cut', 'destination', 'source'];
  const cells = accidents.flatMap((accident) =>
    shares.map((share): Cell => ({ accident, share, ratios: [], extraBytes: [] })),
  );
  const memoryBytes = (options.quick ? 32 : 64) * MIB;
  const dirtyBytesPerSec = 2 * MIB;
  await withWan({ profile: SHAPE }, async (wan) => {
    const { addresses, enter } = wan;
    const inside: ResumeInside = {
      ...{ addresses, enterB: enter.b, windowBytes: WINDOW_BYTES },
      ...{ memoryBytes, dirtyBytesPerSec },
    };
    await withEnd(wan, inside, async (move) => {
      for (let run = 0; run < (options.quick ? 1 : 5); run += 1) {
        for (const cell of cells) {
          const { sentBytes, writtenBytes, heldPages } = await move(cell.accident, cell.share);
          const extraBytes = Math.max(0, sentBytes - memoryBytes);
          const allowedBytes = writtenBytes + WINDOW_BYTES;
          cell.ratios.push(extraBytes / allowedBytes);
          cell.extraBytes.push(extraBytes);
          const held = cell.accident === 'cut' ? '' : `, ${heldPages} pages were there`;
          options.onProgress(
            `${nameOf(cell)}: ${formatFigure(extraBytes / MIB)} MiB beyond the memory, ` +
              `${formatFigure(allowedBytes / MIB)} MiB written meanwhile and in a window${held}`,
          );
        }
      }
    });
  });
  return benchDocument('resume', cells.flatMap(resultsOf));
}

function nameOf({ accident, share }: Cell): string {
  const what = { cut: 'network cut', destination: 'destination killed', source: 'source killed' };
  return `${what[accident]} at ${share * 100} %`;
}

function resultsOf(cell: Cell): BenchResult[] {
  const ratio = summarize(cell.ratios);
  const plain = { higherIsBetter: false, peers: [], floor: null };
  return [
    {
      ...{ case: `${nameOf(cell)}: sent again, of written meanwhile + one window`, ...plain },
      ...{ unit: 'ratio', ours: ratio },
      targets: [atMost('sent again at most what was written and a window', 1, ratio.max)],
    },
    {
      ...{ case: `${nameOf(cell)}: sent beyond the memory`, ...plain },
      ...{ unit: 'bytes', ours: summarize(cell.extraBytes), targets: [] },
    },
  ];
}

interface CountedMove extends ResumeMove {
  readonly sentBytes: number;
}

/** The agents' own process is in the namespace of host a: only it reaches both. */
async function withEnd(
  wan: Wan,
  inside: ResumeInside,
  work: (move: (accident: Accident, share: number) => Promise<CountedMove>) => Promise<void>,
): Promise<void> {
  const [first = '', ...rest] = wan.enter.a;
  const child = fork(PROGRAM, [JSON.stringify(inside)], {
    execPath: first,
    execArgv: [...rest, process.execPath],
    env: { ...process.env, DWCP_NO_SETUP: '1' },
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const stop = async (): Promise<void> => {
    if (child.connected) child.disconnect();
    await ended;
  };
  const answer = (): Promise<ResumeAnswer> =>
    new Promise((resolve, reject) => {
      const died = (): void => reject(new DwcpError('ERR_DWCP_CLOSED', 'the moving end died'));
      child.once('exit', died);
      child.once('message', (said) => {
        child.off('exit', died);
        resolve(said as ResumeAnswer);
      });
    });
  const say = (question: ResumeQuestion): void => void child.send(question);
  const move = async (accident: Accident, share: number): Promise<CountedMove> => {
    const before = (await wan.stats()).ab;
    say({ type: 'move', accident, share });
    for (;;) {
      const said = await answer();
      if (said.type === 'failed') throw new DwcpError('ERR_DWCP_GUEST_FAILED', said.message);
      if (said.type === 'moved') {
        const after = (await wan.stats()).ab;
        const packets = after.deliveredPackets - before.deliveredPackets;
        const bytes = after.deliveredBytes - before.deliveredBytes;
        return { ...said.move, sentBytes: bytes - packets * HEADER_BYTES };
      }
      assert(said.type === 'cut', 'the end asks for the link to be cut or healed');
      await wan.set({ cut: said.isCut });
      say({ type: 'done' });
    }
  };
  await cleanedUp(stop, async () => {
    const ready = await answer();
    assert(ready.type === 'ready', 'the end begins by saying that it is ready');
    await work(move);
  });
}
