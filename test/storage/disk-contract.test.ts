import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { calmPlan, World } from '../../sim/index.ts';
import type { Disk, DiskFile } from '../../src/ports/disk.ts';
import { NodeDisk } from '../../src/storage/node-disk.ts';
import { type Completion, DwcpError } from '../../src/util/errors.ts';

interface OpenDisk {
  readonly disk: Disk;
  /** Lets what was asked happen. */
  readonly run: () => void;
  readonly close: () => Promise<void>;
}

const ARMS: readonly { readonly name: string; readonly open: () => OpenDisk }[] = [
  {
    name: 'of files',
    open: () => {
      const directory = mkdtempSync(join(tmpdir(), 'dwcp-disk-'));
      const disk = new NodeDisk(join(directory, 'below', 'it'));
      const close = async (): Promise<void> => {
        await new Promise((resolve) => disk.close(resolve));
        rmSync(directory, { recursive: true });
      };
      return { disk, run: () => {}, close };
    },
  },
  {
    name: 'simulated',
    open: () => {
      const world = new World({ seed: 1, plan: calmPlan, hosts: ['h'], clients: [] });
      const [host] = world.hosts;
      assert.ok(host);
      return {
        disk: host.disk,
        run: () => world.run(world.nowUs + 1_000_000),
        close: async () => {},
      };
    },
  },
];

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array): string => new TextDecoder().decode(value);

for (const { name, open } of ARMS) {
  describe(`a disk ${name}`, () => {
    type Ask = <T>(work: (done: Completion<T>) => void) => Promise<T>;
    const using = (body: (disk: Disk, ask: Ask) => Promise<void>) => async () => {
      const { disk, run, close } = open();
      const ask: Ask = (work) =>
        new Promise((resolve, reject) => {
          let isInside = true;
          work((outcome) => {
            assert.equal(isInside, false, 'a completion never runs inside the call that asked');
            if (outcome.ok) resolve(outcome.value);
            else reject(outcome.error);
          });
          isInside = false;
          run();
        });
      try {
        await body(disk, ask);
      } finally {
        await close();
      }
    };
    const write = (ask: Ask, disk: Disk, file: string, at: number, what: string): Promise<void> =>
      ask((done) => disk.writeAt(file, at, bytes(what), done));
    const read = async (ask: Ask, disk: Disk, file: string): Promise<string> =>
      text(await ask<Uint8Array>((done) => disk.readAt(file, 0, 1_000_000, done)));

    it(
      'reads what was written, fewer bytes at the end, none where no file is',
      using(async (disk, ask) => {
        await write(ask, disk, 'log/a', 0, 'hello');
        await write(ask, disk, 'log/a', 3, 'p me');
        assert.equal(await read(ask, disk, 'log/a'), 'help me');
        const at = (offset: number, length: number): Promise<Uint8Array> =>
          ask((done) => disk.readAt('log/a', offset, length, done));
        assert.equal(text(await at(5, 2)), 'me');
        assert.equal(text(await at(5, 9)), 'me');
        assert.equal((await at(7, 1)).length, 0);
        assert.equal((await at(70, 100_000)).length, 0);
        assert.equal((await at(0, 0)).length, 0);
        assert.equal(await read(ask, disk, 'nothing'), '');
        assert.equal(await read(ask, disk, 'no/where'), '');
      }),
    );

    it(
      'puts zeros between the end of a file and a write behind it, and after a longer truncation',
      using(async (disk, ask) => {
        await write(ask, disk, 'a', 3, 'x');
        assert.equal(await read(ask, disk, 'a'), '\0\0\0x');
        await ask<void>((done) => disk.truncate('a', 2, done));
        await ask<void>((done) => disk.truncate('a', 5, done));
        assert.equal(await read(ask, disk, 'a'), '\0\0\0\0\0');
        await ask<void>((done) => disk.fdatasync('a', done));
        await ask<void>((done) => disk.fdatasync('missing', done));
      }),
    );

    it(
      'renames over what is there, and goes on with the renamed file',
      using(async (disk, ask) => {
        await write(ask, disk, 'log/old', 0, 'old bytes');
        await write(ask, disk, 'log/new.tmp~', 0, 'new');
        await ask<void>((done) => disk.rename('log/new.tmp~', 'log/old', done));
        await ask<void>((done) => disk.syncDir(done));
        await write(ask, disk, 'log/old', 3, '!');
        assert.equal(await read(ask, disk, 'log/old'), 'new!');
        assert.equal(await read(ask, disk, 'log/new.tmp~'), '');
        await assert.rejects(
          ask<void>((done) => disk.rename('log/none', 'log/other', done)),
          (error: unknown) =>
            error instanceof DwcpError &&
            error.code === 'ERR_DWCP_STORAGE' &&
            error.errno === 'ENOENT',
        );
      }),
    );

    it(
      'lists files by prefix, sorted, with their sizes; removing what is not there succeeds',
      using(async (disk, ask) => {
        const list = (prefix: string): Promise<readonly DiskFile[]> =>
          ask((done) => disk.list(prefix, done));
        assert.deepEqual(await list(''), []);
        for (const file of ['b/2', 'b/10', 'a', 'b/1', 'c']) await write(ask, disk, file, 0, file);
        assert.deepEqual(
          (await list('b/')).map(({ name: at, size }) => [at, size]),
          [
            ['b/1', 3],
            ['b/10', 4],
            ['b/2', 3],
          ],
        );
        assert.deepEqual(
          (await list('')).map((file) => file.name),
          ['a', 'b/1', 'b/10', 'b/2', 'c'],
        );
        await ask<void>((done) => disk.remove('b/10', done));
        await ask<void>((done) => disk.remove('b/10', done));
        await ask<void>((done) => disk.syncDir(done));
        assert.deepEqual(
          (await list('b/1')).map((file) => file.name),
          ['b/1'],
        );
        assert.deepEqual(await list('none/'), []);
      }),
    );

    it(
      'completes in the order in which it was asked',
      using(async (disk, ask) => {
        const order: number[] = [];
        const tell = (id: number) => () => order.push(id);
        disk.writeAt('a', 0, bytes('first'), tell(1));
        disk.fdatasync('a', tell(2));
        disk.readAt('nothing', 0, 1, tell(3));
        disk.writeAt('b', 0, new Uint8Array(2_000_000), tell(4));
        disk.fdatasync('missing', tell(5));
        disk.rename('a', 'c', tell(6));
        disk.list('', tell(7));
        disk.remove('c', tell(8));
        await ask<void>((done) => disk.syncDir(done));
        assert.deepEqual(order, [1, 2, 3, 4, 5, 6, 7, 8]);
      }),
    );

    it(
      'writes with a sync right behind them what was said, whatever happens to the file between',
      using(async (disk, ask) => {
        const pair = (file: string, at: number, what: string): Promise<void> =>
          ask((done) => {
            disk.writeAt(file, at, bytes(what), () => {});
            disk.fdatasync(file, done);
          });
        await pair('a', 0, 'one');
        await pair('a', 3, 'two');
        await write(ask, disk, 'a', 6, 'three');
        await pair('a', 0, 'four');
        await ask<void>((done) => disk.truncate('a', 5, done));
        await pair('a', 5, 'five');
        await pair('a', 9, 'six');
        assert.equal(await read(ask, disk, 'a'), 'fourwfivesix');
        await pair('b', 0, 'other');
        await pair('b', 0, 'OTHER');
        await ask<void>((done) => disk.rename('a', 'b', done));
        await pair('b', 0, 'F');
        await pair('b', 1, 'O');
        assert.equal(await read(ask, disk, 'b'), 'FOurwfivesix');
        await ask<void>((done) => disk.remove('b', done));
        await pair('b', 0, 'new');
        assert.equal(await read(ask, disk, 'b'), 'new');
        assert.equal(await read(ask, disk, 'a'), '');
      }),
    );

    it(
      'keeps many more files in use than it keeps open',
      using(async (disk, ask) => {
        for (let at = 0; at < 150; at += 1) await write(ask, disk, `f/${at}`, 0, `${at}`);
        for (let at = 0; at < 150; at += 1) {
          assert.equal(await read(ask, disk, `f/${at}`), `${at}`);
        }
      }),
    );
  });
}

it('a disk whose directory is a file says so, with errno and hint', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'dwcp-disk-'));
  try {
    writeFileSync(join(directory, 'file'), 'x');
    const disk = new NodeDisk(join(directory, 'file'));
    const outcome = await new Promise<Parameters<Completion<void>>[0]>((resolve) =>
      disk.writeAt('a', 0, bytes('x'), resolve),
    );
    assert.equal(outcome.ok, false);
    if (outcome.ok) return;
    assert.equal(outcome.error.code, 'ERR_DWCP_STORAGE');
    assert.match(outcome.error.hint ?? '', /data directory|path|Check/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

it('a name that leads out of the directory is a bug, not a file', () => {
  const disk = new NodeDisk('/tmp/dwcp-never-made');
  for (const bad of ['../a', 'a/../b', '/a', 'a/b/c', '', '.', '..', 'a/..', 'a b']) {
    assert.throws(() => disk.remove(bad, () => {}), /not the name/);
  }
});
