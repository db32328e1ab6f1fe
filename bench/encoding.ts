/**
 * `bench encoding`: what the page pipeline and each codec by itself make of memory, as sender and receiver do it
 * on one thread, every page checked after its return: made-up and real contents, and the memory of Linux guests.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type EncodedSample,
  encodeSample,
  type FingerprintSample,
  fingerprintSample,
} from '../src/native.ts';
import type { CodecPolicy } from '../src/ports/transport.ts';
import { assert } from '../src/util/assert.ts';
import { formatBytes, parseBytes } from '../src/util/units.ts';
import type { Bench, BenchDocument, BenchResult, BenchRunOptions, Target } from './document.ts';
import { type Corpus, corpora, sampled } from './encoding-corpora.ts';
import { benchDocument, formatFigure, sideResult } from './harness.ts';
import { cleanedUp } from './interruption.ts';
import { type ImageKind, memoryImage } from './memory-images.ts';
import { killVms } from './migration-qemu.ts';
import { chosen } from './settings.ts';
import { atLeast, atMost, median, pairwise } from './statistics.ts';

const DEFAULTS = {
  quick: { size: '4MiB', images: 'idle', memory: '128MiB', every: '8', repetitions: '1' },
  whole: {
    ...{ size: '32MiB', images: 'idle,key-value server under load,compiler run' },
    ...{ memory: '256MiB', every: '4', repetitions: '3' },
  },
} as const;

type Settings = Readonly<Record<keyof typeof DEFAULTS.whole, string>>;

interface Way {
  readonly name: string;
  readonly policy: CodecPolicy;
  readonly wireBytesPerSec: number;
}

const WAN_BYTES_PER_SEC = 100e6 / 8;
const CHUNK_BYTES = 256 * 1024;
const PAGE_BYTES = 4096;
const MB = 1e6;

/** The pipeline on the `wan` profile comes first. */
const OURS: Way = {
  name: 'the pipeline at 100 Mbit/s',
  policy: { kind: 'adaptive' },
  wireBytesPerSec: WAN_BYTES_PER_SEC,
};
const RAW: Way = { name: 'raw pages', policy: { kind: 'raw' }, wireBytesPerSec: 0 };
const WAYS: readonly Way[] = [
  OURS,
  { name: 'the pipeline at 1 Gbit/s', policy: { kind: 'adaptive' }, wireBytesPerSec: 1e9 / 8 },
  RAW,
  fixed('lz4', 1),
  ...[1, 3, 6, 9].map((level) => fixed('zstd', level)),
];

const REDUCTION_MIN = 0.75;
const RANDOM_BYTES_MAX = 1.03;
const RANDOM_TIME_MAX = 1.1;
/** Of what scan and fingerprint would take one after the other. */
const FINGERPRINT_MIN = 0.9;
/** What a peer with a cache of 2 GiB tells of. */
const PEER_PAGES = 2 ** 19;

export const encodingBench: Bench = {
  name: 'encoding',
  describe: 'bytes and rates of the page pipeline and of each codec, on memory of many kinds',
  run: runEncodingBench,
};

function fixed(codec: 'lz4' | 'zstd', level: number): Way {
  return { name: `${codec} ${level}`, policy: { kind: 'fixed', codec, level }, wireBytesPerSec: 0 };
}

async function runEncodingBench(options: BenchRunOptions): Promise<BenchDocument> {
  const settings: Settings = chosen(DEFAULTS[options.quick ? 'quick' : 'whole'], options.settings);
  const results: BenchResult[] = [];
  for (const corpus of corpora(parseBytes(settings.size))) {
    results.push(...measureCorpus(corpus, settings, options, 'content'));
    if (corpus.name === 'random') results.push(measureFingerprint(corpus, settings, options));
  }
  const folder = mkdtempSync(join(tmpdir(), 'dwcp-bench-encoding-'));
  const remove = (): void => {
    killVms(folder);
    rmSync(folder, { recursive: true, force: true });
  };
  await cleanedUp(remove, async () => {
    const memoryBytes = parseBytes(settings.memory);
    for (const kind of settings.images.split(',').filter((each) => each !== '')) {
      const image = await memoryImage({ folder, kind: kind as ImageKind, memoryBytes });
      const nth = Number(settings.every);
      const name = `Linux guest ${formatBytes(memoryBytes)}, ${kind}, 1 of ${nth} MiB`;
      const corpus = { name, pages: sampled(image, nth) };
      results.push(...measureCorpus(corpus, settings, options, 'image'));
      results.push(measureFingerprint(corpus, settings, options));
    }
  });
  return benchDocument('encoding', results);
}

function measureCorpus(
  { name, pages }: Corpus,
  settings: Settings,
  { quick, onProgress }: BenchRunOptions,
  of: 'content' | 'image',
): BenchResult[] {
  const samples = WAYS.map((): EncodedSample[] => []);
  for (let run = 0; run < Number(settings.repetitions); run += 1) {
    for (const [index, { policy, wireBytesPerSec }] of WAYS.entries()) {
      const options = { pages, policy, chunkBytes: CHUNK_BYTES, wireBytesPerSec };
      samples[index]?.push(encodeSample(options));
    }
  }
  const result = (what: string, unit: string, higher: boolean, figure: Figure): BenchResult => {
    const [ours = [], ...others] = samples.map((each) => each.map(figure));
    const peers = others.map((theirs, index) =>
      pairwise(WAYS[index + 1]?.name ?? '', ours, theirs),
    );
    return sideResult(`${name}: ${what}`, unit, higher, ours, peers);
  };
  const bytes = result('bytes on the wire per byte of memory', 'ratio', false, (sample) => {
    return sample.wireBytes / pages.length;
  });
  const encode = result('encoding, one thread', 'bytes/s', true, (sample) => {
    return rate(pages.length, sample.encodeUs);
  });
  const decode = result('decoding, one thread', 'bytes/s', true, (sample) => {
    return rate(pages.length, sample.decodeUs);
  });
  const first = samples[0]?.[0];
  assert(first !== undefined, 'a corpus was encoded');
  const decoded = first.compressedPages > first.rawPages ? [withoutRaw(decode)] : [];
  const { zeroPages } = first;
  const zeroShare = (zeroPages * PAGE_BYTES) / pages.length;
  onProgress(
    `${name}: ${formatFigure(bytes.ours.median)} of its bytes at ` +
      `${formatFigure(encode.ours.median / MB)} MB/s; zero pages ${formatFigure(100 * zeroShare)} %; ` +
      bytes.peers.map((peer) => `${peer.name} ${formatFigure(peer.median)}`).join(', '),
  );
  if (of === 'content') {
    const targets = name === 'random' && !quick ? randomTargets(bytes, encode) : [];
    return [{ ...bytes, targets }, encode, ...decoded];
  }
  const withoutZeros = result('the same, of memory that is not zero', 'ratio', false, (sample) => {
    return sample.wireBytes / (pages.length - sample.zeroPages * PAGE_BYTES);
  });
  const zeros = sideResult(`${name}: zero pages`, 'share', true, [zeroShare]);
  const judged = [bytes, withoutZeros].map((each) => ({
    ...each,
    targets: quick ? [] : [atLeast('reduction', REDUCTION_MIN, 1 - each.ours.median)],
  }));
  return [...judged, encode, ...decoded, zeros];
}

/** What it costs to find no page that the peer has: as every page does that it lacks. */
function measureFingerprint(
  { name, pages }: Corpus,
  { repetitions }: Settings,
  { quick, onProgress }: BenchRunOptions,
): BenchResult {
  const samples = Array.from({ length: 3 * Number(repetitions) }, () =>
    fingerprintSample(pages, PEER_PAGES),
  );
  const rates = (figure: (sample: FingerprintSample) => number): readonly number[] =>
    samples.map((sample) => rate(pages.length, figure(sample) / 1e3));
  const ours = rates(({ bothNs }) => bothNs);
  const oneByOne = rates(({ rawNs, fingerprintNs }) => rawNs + fingerprintNs);
  const peers = [
    pairwise('1/(1/raw + 1/hash): the scan, then the fingerprint', ours, oneByOne),
    pairwise(
      'the scan alone: zero test, copy, digest',
      ours,
      rates(({ rawNs }) => rawNs),
    ),
    pairwise(
      'the keyed fingerprint alone',
      ours,
      rates(({ fingerprintNs }) => fingerprintNs),
    ),
    pairwise(
      'the strong hash of every page',
      ours,
      rates(({ strongNs }) => strongNs),
    ),
  ];
  const what = 'scan with keyed fingerprint, strong hash of candidates, one thread';
  const result = sideResult(`${name}: ${what}`, 'bytes/s', true, ours, peers);
  const share = median(peers[0]?.ratio.samples ?? []);
  onProgress(
    `${result.case}: ${formatFigure(result.ours.median / MB)} MB/s, ${formatFigure(share)} of 1/(1/raw + 1/hash)`,
  );
  const target = atLeast('of 1/(1/raw + 1/hash)', FINGERPRINT_MIN, share);
  return { ...result, targets: quick ? [] : [target] };
}

/** Raw pages are taken where they lie: nothing was decoded, and nothing measured. */
function withoutRaw(decode: BenchResult): BenchResult {
  return { ...decode, peers: decode.peers.filter((peer) => peer.name !== RAW.name) };
}

type Figure = (sample: EncodedSample) => number;

/** The clock counts microseconds: nothing takes less than one. */
function rate(bytes: number, us: number): number {
  return (bytes * 1e6) / Math.max(1, us);
}

/** What looking at it costs where nothing can be gained. */
function randomTargets(bytes: BenchResult, encode: BenchResult): readonly Target[] {
  const toRaw = ({ peers }: BenchResult): number => {
    const raw = peers.find((peer) => peer.name === RAW.name);
    return median(raw?.ratio.samples ?? []);
  };
  return [
    atMost('bytes, of those of raw pages', RANDOM_BYTES_MAX, toRaw(bytes)),
    atMost('time of one thread, of that of raw pages', RANDOM_TIME_MAX, 1 / toRaw(encode)),
  ];
}
