/** What codecs are tried on, by name: each a number of bytes made of whole pages. */
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { randomOf, realFiles } from './wan-guest-content.ts';

export interface Corpus {
  readonly name: string;
  readonly pages: Uint8Array;
}

const SEED = 7;
const TEXTS = /\.(?:h|txt|md|json|xml|pl|py|html|po|c|cmake|m4)$/;
const PROGRAMS = /\/bin\/|\.so(?:\.|$)|\.a$/;
const COMPRESSED = /\.(?:gz|png|jpe?g|xz|zst|webp|woff2?|ogg|zip|bz2)$/;

export function corpora(bytes: number): readonly Corpus[] {
  const random = randomOf(SEED);
  const noise = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 4) noise.writeUInt32LE(random(), at);
  const files = realFiles(SEED);
  return [
    // Written once: of memory never touched, every page reads as the kernel's one zero page, out of the cache.
    { name: 'zeros', pages: Buffer.alloc(bytes, 1).fill(0) },
    { name: 'random', pages: noise },
    {
      name: 'text',
      pages: filled(
        bytes,
        files.filter((path) => TEXTS.test(path)),
        readFileSync,
      ),
    },
    { name: 'binaries', pages: filled(bytes, programs(files), readFileSync) },
    { name: 'compressed media', pages: compressed(bytes, files) },
  ];
}

function programs(files: readonly string[]): readonly string[] {
  return files.filter((path) => PROGRAMS.test(path) && !COMPRESSED.test(path));
}

/** Pictures and archives of this machine; where there are too few, its programs, zipped, follow. */
function compressed(bytes: number, files: readonly string[]): Uint8Array {
  const real = files.filter((path) => COMPRESSED.test(path));
  return filled(bytes, [...real, ...programs(files)], (path) =>
    COMPRESSED.test(path) ? readFileSync(path) : gzipSync(readFileSync(path), { level: 6 }),
  );
}

/** One file after the other, from the first again if they are too few. */
function filled(
  bytes: number,
  paths: readonly string[],
  read: (path: string) => Buffer,
): Uint8Array {
  const made = Buffer.alloc(bytes);
  for (let at = 0, index = 0; at < bytes; index += 1) {
    at += read(paths[index % paths.length] ?? '').copy(made, at);
  }
  return made;
}

/** Every `nth` MiB of an image, for codecs that are slow. */
export function sampled(image: Uint8Array, nth: number): Uint8Array {
  const step = 2 ** 20;
  const parts: Uint8Array[] = [];
  for (let at = 0; at < image.length; at += nth * step) parts.push(image.subarray(at, at + step));
  return Buffer.concat(parts);
}
