/** Depth `cluster`: clean seeds pass, and every checker catches what was planted for it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GroupOptions } from '../../sim/agents/group.ts';
import { calmPlan, checkDeterminism, type FaultPlan, simulate } from '../../sim/index.ts';
import { clusterScenario } from '../../sim/scenarios/cluster.ts';
import { decodeCommand, encodeAnswer, encodeCommand } from '../../src/protocols/ownership/codec.ts';
import type { OwnershipCommand } from '../../src/protocols/ownership/types.ts';
import type { Application } from '../../src/protocols/raft/sessions/machine.ts';

const small = { timing: { chaosUs: 20_000_000 }, workload: { operations: 400 } };
const SEEDS = 30;

test('clean seeds with every fault of the depth find nothing, with three hosts and with five', () => {
  const sometimes = new Set<string>();
  for (const hosts of [3, 5]) {
    for (const seed of [5, 6, 7]) {
      const result = simulate(clusterScenario(), { seed, hosts, ...small });
      assert.equal(result.violation, null);
      assert.ok(result.history.filter(({ returnUs }) => returnUs !== null).length > 100);
      for (const [label, count] of Object.entries(result.sometimes)) {
        if (count > 0) sometimes.add(label);
      }
    }
  }
  assert.ok(sometimes.has('a snapshot was restored'));
});

test('a seed is the same run twice', () => {
  const { equal, difference } = checkDeterminism(clusterScenario(), { seed: 4, ...small });
  assert.ok(equal, JSON.stringify(difference));
});

function assertCaught(
  checker: string,
  planted: Partial<GroupOptions>,
  plan: FaultPlan | null = null,
): void {
  const others = new Set<string>();
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const { violation } = simulate(clusterScenario(planted), {
      ...{ seed, ...small },
      ...(plan === null ? {} : { plan }),
    });
    if (violation?.checker === checker) return;
    if (violation !== null) others.add(violation.checker);
  }
  assert.fail(`${checker} found nothing in ${SEEDS} seeds; others: ${[...others].join(', ')}`);
}

type Rewrite = (command: OwnershipCommand, host: string) => OwnershipCommand | null;

/** Executes what `rewrite` makes of a command; null skips it and answers what it can. */
const executing =
  (rewrite: Rewrite): NonNullable<GroupOptions['tamper']> =>
  (application, { name }): Application => ({
    execute: (bytes, index) => {
      const command = decodeCommand(bytes);
      if (command === null) return application.execute(bytes, index);
      const other = rewrite(command, name);
      if (other !== null) return application.execute(encodeCommand(other), index);
      return encodeAnswer({ ok: true, vm: null });
    },
    encode: () => application.encode(),
    restore: (bytes) => application.restore(bytes),
  });

/** The power of all hosts goes, again and again, while disks are slow. */
const powerLosses: FaultPlan = {
  ...calmPlan,
  disk: { latencyMinUs: 5_000, latencyMaxUs: 20_000 },
  faults: Array.from({ length: 12 }, (_, at) => at).flatMap((at) =>
    [0, 1, 2].map((host) => ({
      kind: 'crash' as const,
      host,
      atUs: at * 1_500_000,
      forUs: 300_000,
    })),
  ),
};

test('a log that calls written what it has not synced is caught: another command at an index', () => {
  const lying: Partial<GroupOptions> = {
    tamperLog: (log, host) => ({
      ...{ saveSnapshot: log.saveSnapshot.bind(log), close: log.close.bind(log) },
      readSnapshot: log.readSnapshot.bind(log),
      verifySnapshot: log.verifySnapshot.bind(log),
      write: (write, done) => {
        log.write(write, () => {});
        host.after(0, 'planted', () => done({ ok: true, value: undefined }));
      },
    }),
  };
  assertCaught('group-log', lying, powerLosses);
});

test('a command that all skip and answer is caught by the history of its clients', () => {
  assertCaught('linearizability', {
    tamper: executing((command) => (command.type === 'claim' ? null : command)),
  });
});

test('a command that one host executes a little differently is caught in its state', () => {
  const renamed: Rewrite = (command, host) =>
    command.type === 'claim' && host === 'host-1' ? { ...command, operator: 'eve' } : command;
  assertCaught('same-state', { tamper: executing(renamed) });
});

test('two owners under one epoch are caught as soon as two hosts tell of them', () => {
  const usurped: Rewrite = (command, host) =>
    command.type === 'claim' && host === 'host-2' ? { ...command, host } : command;
  assertCaught('epochs', { tamper: executing(usurped) });
});

test('a log that answers nothing makes the group stuck', () => {
  assertCaught('progress', {
    tamperLog: (log) => ({
      ...{ saveSnapshot: log.saveSnapshot.bind(log), close: log.close.bind(log) },
      readSnapshot: log.readSnapshot.bind(log),
      verifySnapshot: log.verifySnapshot.bind(log),
      write: (write) => log.write(write, () => {}),
    }),
  });
});
