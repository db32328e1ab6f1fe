/** Depth `migration`: clean seeds pass, and every checker catches what was planted for it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostGuests } from '../../sim/hypervisor/host-guests.ts';
import { SimMemory } from '../../sim/hypervisor/memory.ts';
import { MemoryGuestModel } from '../../sim/hypervisor/memory-hypervisor.ts';
import { checkDeterminism, simulate } from '../../sim/index.ts';
import { migrationScenario } from '../../sim/scenarios/migration.ts';
import { SimContentCache } from '../../sim/transport/bulk/content-cache.ts';
import { PageReceiving } from '../../sim/transport/bulk/page-receiving.ts';
import { PageSending } from '../../sim/transport/bulk/page-sending.ts';
import { SimSealer } from '../../sim/transport/bulk/seal.ts';
import { ModeGovernor } from '../../src/protocols/link/mode-governor.ts';

const small = { timing: { chaosUs: 20_000_000 }, workload: { operations: 400 } };
const SEEDS = 30;

test('clean seeds with every fault of the depth find nothing, and VMs were moved', () => {
  let moved = 0;
  for (const seed of [1, 2, 3, 4]) {
    const { violation, sometimes } = simulate(migrationScenario(), { seed, ...small });
    assert.equal(violation, null);
    moved += sometimes['a migration committed'] ?? 0;
  }
  assert.ok(moved > 20, `${moved} moves`);
});

test('a seed is the same run twice', () => {
  const { equal, difference } = checkDeterminism(migrationScenario(), { seed: 5, ...small });
  assert.ok(equal, JSON.stringify(difference));
});

/** Plants a bug for as long as it takes to be found. */
function assertCaught<T extends object, K extends keyof T>(
  checker: string,
  owner: T,
  method: K,
  make: (original: T[K]) => T[K],
): void {
  const original = owner[method];
  const others = new Set<string>();
  owner[method] = make(original);
  try {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const { violation } = simulate(migrationScenario(), { seed, ...small });
      if (violation?.checker === checker) return;
      if (violation !== null) others.add(violation.checker);
    }
  } finally {
    owner[method] = original;
  }
  assert.fail(`${checker} found nothing in ${SEEDS} seeds; others: ${[...others].join(', ')}`);
}

test('a source that resumes on a time-out is caught: it runs beside its destination', () => {
  assertCaught('one-runner', HostGuests.prototype, 'freeze', (freeze) => {
    return function (this: HostGuests, process, done) {
      freeze.call(this, process, done);
      const { world } = this.host;
      world.schedule(world.nowUs + 1_000_000, 'planted', this.host.name, null, () => {
        if (!process.isAlive || !process.isFrozen) return;
        process.thaw();
        process.setRunning(true);
      });
    };
  });
});

test('a dirty page that a scan forgets is caught at the switch', () => {
  assertCaught('guest-writes', SimMemory.prototype, 'scan', (scan) => {
    return function (this: SimMemory, into) {
      scan.call(this, into);
      if (into.size() > 1 && into.size() < this.pageCount) into.pages.delete(into.sorted()[1] ?? 0);
    };
  });
});

test('an account that names pages before they landed is caught when an agent dies', () => {
  assertCaught('ledger', SimMemory.prototype, 'hashes', (hashes) => {
    return function (this: SimMemory, firstPage, pageCount) {
      return hashes.call(this, firstPage, pageCount).fill(7);
    };
  });
});

test('a chunk that lands over newer content is caught by the ledger', () => {
  assertCaught('ledger', PageReceiving.prototype, 'take', (take) => {
    return function (this: PageReceiving, chunk, frameBytes) {
      const taken = take.call(this, chunk, frameBytes);
      if (chunk.type === 'pages' && taken === 'landed') {
        for (const [index, page] of chunk.pages.entries()) {
          const record = chunk.record(index);
          if (record.kind !== 'whole') continue;
          this.land(chunk.seq, page, { bytes: record.bytes, content: 0 });
        }
      }
      return taken;
    };
  });
});

test('a page that is acknowledged and never landed is caught by the ledger', () => {
  let pages = 0;
  assertCaught('ledger', PageReceiving.prototype, 'land', (land) => {
    return function (this: PageReceiving, seq, page, landing) {
      pages += 1;
      if (pages % 50 !== 0) land.call(this, seq, page, landing);
    };
  });
});

test('an account that misses pages that are there is caught when an agent dies', () => {
  let answers = 0;
  assertCaught('ledger', SimMemory.prototype, 'hashes', (hashes) => {
    return function (this: SimMemory, firstPage, pageCount) {
      answers += 1;
      return hashes.call(this, firstPage, pageCount).fill(answers);
    };
  });
});

test('a delta that is put on whatever stands there is caught as it lands', () => {
  assertCaught('landings', PageReceiving.prototype, 'fits', () => () => true);
});

test('a cache that trusts its disk is caught as a rotten page lands', () => {
  assertCaught('landings', SimContentCache.prototype, 'isIntact', () => () => true);
});

test('a batch that counts as landed before its refused pages did is caught by the ledger', () => {
  assertCaught('ledger', PageSending.prototype, 'hasLandedRefused', () => () => true);
});

test('a nonce that follows from the sequence is caught when it comes twice', () => {
  assertCaught('nonces', SimSealer.prototype, 'drawn', (drawn) => {
    return function (this: SimSealer, lane, seq) {
      return seq > 0 ? seq : drawn.call(this, lane, seq);
    };
  });
});

test('a counter of nonces that is too short is caught when it begins anew', () => {
  assertCaught('nonces', SimSealer.prototype, 'drawn', (drawn) => {
    return function (this: SimSealer, lane, seq) {
      return (drawn.call(this, lane, seq) % 15) + 1;
    };
  });
});

test('a guest that nobody wakes up is stuck, not lost', () => {
  assertCaught('progress', MemoryGuestModel.prototype, 'unfence', () => {
    return function (this: MemoryGuestModel, done) {
      this.process.thaw();
      this.guests.answer(done, () => ({ ok: true, value: undefined }));
    };
  });
});

test('a governor that lets a flapping way through is caught', () => {
  assertCaught('mode-changes', ModeGovernor.prototype, 'changed', (changed) => {
    return function (this: ModeGovernor, nowUs, to, _forced) {
      // As if an operator had said so, a minute ago.
      changed.call(this, nowUs - 60_000_000, to, true);
    };
  });
});

test('links switch their modes while pages move', () => {
  let switched = 0;
  for (const seed of [1, 2, 3]) {
    const { violation, sometimes } = simulate(migrationScenario(), { seed, ...small });
    assert.equal(violation, null);
    switched += sometimes['a link switched its mode while pages moved'] ?? 0;
  }
  assert.ok(switched > 0, 'no link did');
});
