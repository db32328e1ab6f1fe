import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { calmPlan, World } from '../../sim/index.ts';
import { MemoryStorage } from '../../sim/storage/memory-storage.ts';
import type { Storage, StoredRecord } from '../../src/ports/storage.ts';
import { FileStorage } from '../../src/storage/file-storage.ts';
import { DiskStorage } from '../../src/storage/records.ts';
import type { Completion, DwcpError } from '../../src/util/errors.ts';

interface Arm {
  readonly name: string;
  readonly open: (directory: string) => Promise<{ storage: Storage; close: () => Promise<void> }>;
}

const ARMS: readonly Arm[] = [
  {
    name: 'files',
    open: async (directory) => {
      const storage = await FileStorage.open(directory);
      return { storage, close: () => storage.close() };
    },
  },
  {
    name: 'files of a simulated disk',
    open: async () => {
      const world = new World({ seed: 1, plan: calmPlan, hosts: ['h'], clients: [] });
      const [host] = world.hosts;
      assert.ok(host);
      // Simulated time goes on while the test waits.
      const running = setInterval(() => world.run(world.nowUs + 10_000), 1);
      const close = async (): Promise<void> => clearInterval(running);
      return { storage: new DiskStorage(host.disk), close };
    },
  },
  {
    name: 'memory',
    open: async () => ({ storage: new MemoryStorage(setImmediate), close: async () => {} }),
  },
];

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string => new TextDecoder().decode(value);

function ask<T>(work: (done: Completion<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let isInside = true;
    work((outcome) => {
      assert.equal(isInside, false, 'a completion never runs inside the call that asked');
      if (outcome.ok) resolve(outcome.value);
      else reject(outcome.error);
    });
    isInside = false;
  });
}

for (const arm of ARMS) {
  describe(`storage in ${arm.name}`, () => {
    const using = (body: (storage: Storage) => Promise<void>) => async () => {
      const directory = mkdtempSync(join(tmpdir(), 'dwcp-storage-'));
      const { storage, close } = await arm.open(directory);
      try {
        await body(storage);
      } finally {
        await close();
        rmSync(directory, { recursive: true });
      }
    };

    it(
      'lists what was put, by prefix and in key order',
      using(async (storage) => {
        await ask<void>((done) => storage.put('fence/b', bytes('2'), done));
        await ask<void>((done) => storage.put('fence/a', bytes('1'), done));
        await ask<void>((done) => storage.put('guest/a', bytes('3'), done));
        const records = await ask<readonly StoredRecord[]>((done) => storage.list('fence/', done));
        assert.deepEqual(
          records.map(({ key, value }) => [key, text(value)]),
          [
            ['fence/a', '1'],
            ['fence/b', '2'],
          ],
        );
      }),
    );

    it(
      'replaces a record and forgets a removed one, twice without complaint',
      using(async (storage) => {
        await ask<void>((done) => storage.put('guest/vm1', bytes('old'), done));
        await ask<void>((done) => storage.put('guest/vm1', bytes('new'), done));
        assert.equal(
          text(
            (await ask<readonly StoredRecord[]>((done) => storage.list('guest/', done)))[0]?.value,
          ),
          'new',
        );
        await ask<void>((done) => storage.remove('guest/vm1', done));
        await ask<void>((done) => storage.remove('guest/vm1', done));
        assert.deepEqual(
          await ask<readonly StoredRecord[]>((done) => storage.list('guest/', done)),
          [],
        );
      }),
    );
  });
}

describe('records on disk', () => {
  const inDirectory = (body: (directory: string) => Promise<void>) => async () => {
    const directory = mkdtempSync(join(tmpdir(), 'dwcp-storage-'));
    try {
      await body(directory);
    } finally {
      rmSync(directory, { recursive: true });
    }
  };

  it(
    'survive being closed and opened again',
    inDirectory(async (directory) => {
      const first = await FileStorage.open(directory);
      await ask<void>((done) => first.put('fence/m1', bytes('fenced'), done));
      await first.close();
      const second = await FileStorage.open(directory);
      assert.equal(
        text((await ask<readonly StoredRecord[]>((done) => second.list('fence/', done)))[0]?.value),
        'fenced',
      );
      await second.close();
    }),
  );

  it(
    'leave nothing of a put that a crash cut short',
    inDirectory(async (directory) => {
      const first = await FileStorage.open(directory);
      await ask<void>((done) => first.put('fence/m1', bytes('fenced'), done));
      await first.close();
      writeFileSync(join(directory, 'fence', 'm2.tmp~'), 'half of');
      await (await FileStorage.open(directory)).close();
      assert.deepEqual(readdirSync(join(directory, 'fence')), ['m1']);
    }),
  );

  it(
    'refuse a second node on the same directory',
    inDirectory(async (directory) => {
      const first = await FileStorage.open(directory);
      await assert.rejects(FileStorage.open(directory), {
        code: 'ERR_DWCP_STORAGE',
        message: /in use/,
      });
      await first.close();
      await (await FileStorage.open(directory)).close();
    }),
  );

  it(
    'are called damaged when any byte of them was flipped or cut',
    inDirectory(async (directory) => {
      const storage = await FileStorage.open(directory);
      await ask<void>((done) => storage.put('fence/m1', bytes('value'), done));
      const path = join(directory, 'fence', 'm1');
      const good = readFileSync(path);
      for (let index = 0; index < good.length; index += 1) {
        const bad = Buffer.from(good);
        bad[index] = (bad[index] ?? 0) ^ 0x10;
        writeFileSync(path, bad);
        await assert.rejects(
          ask((done) => storage.list('fence/', done)),
          { code: 'ERR_DWCP_CORRUPT' },
        );
        writeFileSync(path, good.subarray(0, index));
        await assert.rejects(
          ask((done) => storage.list('fence/', done)),
          { code: 'ERR_DWCP_CORRUPT' },
        );
      }
      await storage.close();
    }),
  );

  it(
    'leave no half-written file that a later start would read',
    inDirectory(async (directory) => {
      const storage = await FileStorage.open(directory);
      await ask<void>((done) => storage.put('fence/m1', bytes('whole'), done));
      writeFileSync(join(directory, 'fence', 'm2.tmp~'), 'DWCP1 half');
      assert.equal(
        (await ask<readonly StoredRecord[]>((done) => storage.list('fence/', done))).length,
        1,
      );
      assert.deepEqual(readdirSync(join(directory, 'fence')).sort(), ['m1', 'm2.tmp~']);
      await storage.close();
    }),
  );

  it(
    'answer with the path and a hint when the directory cannot be used',
    inDirectory(async (directory) => {
      const file = join(directory, 'plain-file');
      writeFileSync(file, '');
      await assert.rejects(FileStorage.open(join(file, 'data')), (error: DwcpError) => {
        assert.equal(error.code, 'ERR_DWCP_STORAGE');
        assert.equal(error.errno, 'ENOTDIR');
        assert.match(error.message, /plain-file/);
        assert.match(error.hint ?? '', /choose another path/);
        return true;
      });
      chmodSync(file, 0o600);
    }),
  );
});
