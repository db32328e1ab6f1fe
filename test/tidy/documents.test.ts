import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkout } from './source-file.ts';

const FOLDERS = ['src', 'native', 'test', 'bench', 'sim', 'docs', 'scripts', 'proto'];

/** Every file and folder of the tree, from the root. */
function treePaths(): readonly string[] {
  return FOLDERS.flatMap((folder) => [
    folder,
    ...readdirSync(join(checkout, folder), { recursive: true, encoding: 'utf8' }).map(
      (name) => `${folder}/${name}`,
    ),
  ]);
}

/** What a document puts in back quotes and means as a place in the tree; `a.{h,cc}` is two. */
function placesIn(text: string): readonly string[] {
  const quoted = [...text.matchAll(/`([\w./{},-]+)`/g)].map((match) => match[1] ?? '');
  return quoted
    .filter((place) =>
      /\w\.(?:ts|cc|h|mjs|proto|\{h,cc\})$|^[a-z][\w-]*(?:\/[\w-]+)*\/$/.test(place),
    )
    .flatMap((place) => {
      const both = /^(.*)\{(\w+),(\w+)\}$/.exec(place);
      return both === null ? [place] : [`${both[1]}${both[2]}`, `${both[1]}${both[3]}`];
    });
}

test('the documents name only files and folders that exist', () => {
  const paths = treePaths();
  const exists = (place: string): boolean =>
    paths.some((path) => `/${path}`.endsWith(`/${place.replace(/\/$/, '')}`));
  for (const document of ['docs/ARCHITECTURE.md', 'docs/GLOSSARY.md', 'CONTRIBUTING.md']) {
    const places = placesIn(readFileSync(join(checkout, document), 'utf8'));
    assert.deepEqual(
      places.filter((place) => !exists(place)),
      [],
      document,
    );
  }
  assert.ok(placesIn(readFileSync(join(checkout, 'docs/ARCHITECTURE.md'), 'utf8')).length > 30);
  assert.equal(exists('actors/node-nowhere.ts'), false);
});
