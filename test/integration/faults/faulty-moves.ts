/** Three agents under test and one guest, moved again and again while something fails. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { AdminClient } from '../../../src/agent/admin-client.ts';
import { type DemoCluster, startDemoCluster } from '../../../src/cli/demo/cluster.ts';
import type { MigrationReceipt } from '../../../src/node.ts';
import { DwcpError } from '../../../src/util/errors.ts';
import type { Arm } from './arms.ts';
import type { Census, SeenGuest } from './census.ts';
import type { Draw } from './draw.ts';
import { armFailPoint, disarmFailPoint, isArmed } from './fail-point.ts';
import type { Scenario } from './scenarios.ts';

const DWCP = fileURLToPath(new URL('../../../../bin/dwcp.js', import.meta.url));
const GUEST = 'vm';
const RECORDS = ['fence', 'guest', 'arrival', 'incoming', 'outgoing'] as const;
const NODES = ['a', 'b', 'c'] as const;
/** The first round then lasts about 200 ms: a fault can come in its middle. */
const PACE_BYTES_PER_SEC = 64 * 2 ** 20;
const SETTLED_WITHIN_MS = 30_000;
const POLL_MS = 20;
/** Nothing may wake a fenced guest; this long we watch it, besides the whole rest of the move. */
const WATCH_MS = 300;
const GAP_MS_MAX = 1_000;

type Ending = MigrationReceipt | DwcpError;

export class FaultyMoves {
  readonly #cluster: DemoCluster;
  readonly #arm: Arm;
  readonly #census: Census;
  #operations = 0;
  #splitBrain: string | null = null;
  #isWatching = true;
  readonly #watching: Promise<void>;

  private constructor(cluster: DemoCluster, arm: Arm) {
    this.#cluster = cluster;
    this.#arm = arm;
    this.#census = arm.census(cluster);
    this.#watching = this.#watch();
  }

  static async start(arm: Arm): Promise<FaultyMoves> {
    const cluster = await startDemoCluster({
      settings: arm.settings,
      program: fileURLToPath(new URL('./faulty-agent.js', import.meta.url)),
      environment: (directory, node) => ({ DWCP_FAIL_POINT: failPointFile(directory, node) }),
    });
    const moves = new FaultyMoves(cluster, arm);
    await moves.#client('a').startGuest(arm.kind, GUEST, arm.options);
    return moves;
  }

  async stop(): Promise<void> {
    this.#isWatching = false;
    await this.#watching;
    this.#census.close();
    await this.#cluster.stop();
    this.#arm.dispose();
  }

  async fail(scenario: Scenario, draw: Draw): Promise<void> {
    const home = await this.#settled();
    const others = NODES.filter((node) => node !== home.node);
    const away = others[draw.below(others.length)] ?? 'a';
    await this.#linked(home.node, away);
    await this.#census.resetGap(home);
    const victim = scenario.victim === 'source' ? home.node : away;
    const path = failPointFile(this.#cluster.directory, victim);
    // Whether a destination had committed when it is killed at any moment, nobody can say beforehand.
    const isDouble =
      scenario.action === 'kill' && scenario.step !== 'after send fenced' && draw.below(3) === 0;
    armFailPoint(path, scenario);
    let ending = 'none';
    const moving = this.#migrate(home.node, away).then((result) => {
      ending = describe(result);
      return result;
    });
    // The last steps come after the receipt.
    await this.#until(
      () => !isArmed(path),
      () => `the step, before this ending: ${ending}`,
    );
    if (scenario.action === 'kill') {
      await this.#cluster.exited(victim);
      if (victim === away) await this.#withoutDestination(scenario, home, moving);
      await delay(draw.below(100));
      await this.#comeBack(victim, victim === home.node ? away : home.node, isDouble, draw);
    }
    const end = await this.#settled();
    disarmFailPoint(path);
    const ends = end.node === home.node ? 'source' : 'destination';
    if (scenario.ends !== 'either') assert.equal(ends, scenario.ends, 'where it runs');
    const result = await moving;
    if (!isDouble) assertEnding(result, { ...scenario, ends });
    await this.#assertNothingLeft(end);
  }

  /** Sometimes the other agent is killed, too, and either may be the first to come back. */
  async #comeBack(victim: string, other: string, isDouble: boolean, draw: Draw): Promise<void> {
    if (!isDouble) return this.#cluster.restart(victim);
    await this.#cluster.crash(other);
    const order = draw.shuffled([victim, other]);
    for (const node of order) {
      await this.#cluster.restart(node);
      await delay(draw.below(200));
    }
  }

  /** The destination's agent is dead. */
  async #withoutDestination(
    scenario: Scenario,
    home: SeenGuest,
    moving: Promise<Ending>,
  ): Promise<void> {
    if (scenario.isUnknown) {
      await this.#assertUnknown(home);
      if (scenario.isClaimed) await this.#claim(home);
      return;
    }
    if (scenario.ends === 'destination' || scenario.isWaiting) return;
    assertEnding(await moving, scenario);
    await this.#until(async () => (await this.#stateOf(home)) === 'running', 'it goes on at home');
    if (scenario.isFenced) return;
    const account = await this.#census.account(home);
    assert.ok(account !== null && account.longestGapMs < GAP_MS_MAX, 'hardly a gap');
  }

  async #assertUnknown(home: SeenGuest): Promise<void> {
    const client = this.#client(home.node);
    // Before that it waits, as briefly, for what the log says.
    await this.#until(async () => {
      const waiting = (await client.migrations()).find(({ phase }) => phase === 'outcomeUnknown');
      if (waiting === undefined) return false;
      assert.equal(waiting.error?.code, 'ERR_DWCP_OUTCOME_UNKNOWN');
      return /dwcp vm claim vm --host-is-fenced/.test(waiting.error.hint ?? '');
    }, 'the source says that it waits for the destination');
    await this.#until(
      async () => (await client.guests()).some(({ state }) => state === 'outcomeUnknown'),
      'so does the guest',
    );
    const untilMs = performance.now() + WATCH_MS;
    while (performance.now() < untilMs) {
      assert.equal(await this.#stateOf(home), 'frozen', 'it never resumes by itself');
      await delay(POLL_MS);
    }
  }

  /** Even an agent that starts over and over leaves it frozen; the operator's word in the log wakes it. */
  async #claim(home: SeenGuest): Promise<void> {
    await this.#cluster.crash(home.node);
    assert.equal(await this.#stateOf(home), 'frozen');
    await this.#cluster.restart(home.node);
    await this.#assertUnknown(home);
    const config = ['--config', join(this.#cluster.directory, `${home.node}.yaml`)];
    for (const list of [['vm', 'list'], ['migrations']]) {
      const { stdout } = await dwcp(...list, ...config);
      assert.match(stdout, /ERR_DWCP_OUTCOME_UNKNOWN/);
      assert.match(stdout, /dwcp vm claim vm --host-is-fenced/);
    }
    await dwcp('vm', 'claim', GUEST, '--host-is-fenced', ...config);
    await this.#until(async () => (await this.#stateOf(home)) === 'running', 'claimed, it runs');
  }

  /** Everybody is back and agrees: one guest, one process, one host that says so. */
  async #settled(): Promise<SeenGuest> {
    let seen: readonly SeenGuest[] = [];
    let said: readonly string[] = [];
    const isSettled = async (): Promise<boolean> => {
      seen = await this.#census.take();
      const lists = await Promise.all(
        NODES.map(async (node) =>
          (await this.#client(node).guests()).map((guest) => `${node} ${guest.state}`),
        ),
      );
      said = lists.flat();
      const [only] = seen;
      return seen.length === 1 && said.length === 1 && said[0] === `${only?.node} running`;
    };
    await this.#until(isSettled, async () => {
      const moves = await this.#migrations();
      return `one guest runs; seen ${JSON.stringify(seen)}, said ${said}, moves ${moves}`;
    });
    const [only] = seen;
    assert.ok(only !== undefined);
    await this.#assertWorks(only);
    return only;
  }

  async #assertWorks(guest: SeenGuest): Promise<void> {
    await this.#until(async () => {
      const account = await this.#census.account(guest);
      if (account === null) return false;
      assert.ok(account.invariantHeld, 'the accounts add up, no operation is missing or doubled');
      assert.ok(account.operations >= this.#operations, 'it never goes back');
      const isProgress = account.operations > this.#operations;
      this.#operations = account.operations;
      return isProgress;
    }, 'the guest works');
    assert.equal(this.#splitBrain, null);
  }

  async #assertNothingLeft(end: SeenGuest): Promise<void> {
    await this.#until(
      () => {
        const left = NODES.flatMap((node) => this.#records(node, ...RECORDS));
        return left.length === 1 && left[0] === `${end.node}/guest/${GUEST}`;
      },
      () => `no record is left behind: ${NODES.flatMap((node) => this.#records(node, ...RECORDS))}`,
    );
  }

  #records(node: string, ...kinds: readonly string[]): readonly string[] {
    return kinds.flatMap((kind) => {
      try {
        const names = readdirSync(join(this.#cluster.directory, node, 'data', kind));
        return names.map((name) => `${node}/${kind}/${name}`);
      } catch {
        return [];
      }
    });
  }

  async #stateOf(guest: SeenGuest): Promise<SeenGuest['state'] | 'gone'> {
    const seen = await this.#census.take();
    return seen.find(({ pid }) => pid === guest.pid)?.state ?? 'gone';
  }

  async #migrations(): Promise<string> {
    const lists = await Promise.all(NODES.map((node) => this.#client(node).migrations()));
    return NODES.map((node, index) => `${node}: ${JSON.stringify(lists[index])}`).join(' ');
  }

  #migrate(from: string, to: string): Promise<Ending> {
    return this.#client(from)
      .migrate(GUEST, { to, maxBandwidth: PACE_BYTES_PER_SEC }, () => {})
      .catch((error: unknown) => {
        assert.ok(error instanceof DwcpError, String(error));
        return error;
      });
  }

  async #linked(from: string, to: string): Promise<void> {
    await this.#until(async () => {
      const { peers } = await this.#client(from).status();
      return peers.some((peer) => peer.id === to && peer.connected);
    }, `${from} finds ${to}`);
  }

  #client(node: string): AdminClient {
    const client = this.#cluster.clients.get(node);
    assert.ok(client !== undefined);
    return client;
  }

  async #until(
    holds: () => boolean | Promise<boolean>,
    what: string | (() => string | Promise<string>),
  ): Promise<void> {
    const untilMs = performance.now() + SETTLED_WITHIN_MS;
    while (!(await holds())) {
      assert.equal(this.#splitBrain, null);
      if (performance.now() > untilMs) {
        assert.fail(`not in time: ${typeof what === 'string' ? what : await what()}`);
      }
      await delay(POLL_MS);
    }
  }

  async #watch(): Promise<void> {
    while (this.#isWatching) {
      this.#splitBrain ??= await this.#census.splitBrain();
      await delay(POLL_MS);
    }
  }
}

function dwcp(...args: readonly string[]): Promise<{ readonly stdout: string }> {
  const env = { ...process.env, DWCP_NO_SETUP: '1' };
  return promisify(execFile)(process.execPath, [DWCP, ...args], { env });
}

function failPointFile(directory: string, node: string): string {
  return join(directory, `${node}.fail-point`);
}

function assertEnding(ending: Ending, { action, ends, isClaimed, victim }: Scenario): void {
  if (!(ending instanceof DwcpError)) {
    assert.equal(ends, 'destination', 'a receipt says where the guest is');
    if (action === 'cutStream') assert.equal(ending.verified, true, 'bit for bit');
    return;
  }
  // Whoever asked the killed source hears no more than that nobody answers.
  if (action === 'kill' && (victim === 'source' || isClaimed)) return;
  assert.equal(ends, 'source', `an error says where the guest is: ${describe(ending)}`);
  assert.equal(ending.code, 'ERR_DWCP_PEER_UNREACHABLE', describe(ending));
  assert.match(
    ending.hint ?? '',
    /"vm" (goes on running|runs) at the source/,
    'it says where it is',
  );
}

function describe(ending: Ending): string {
  if (!(ending instanceof DwcpError)) return JSON.stringify(ending);
  return `${ending.code} ${ending.message} (${ending.hint})`;
}
