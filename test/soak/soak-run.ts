/** One move, one step at which an agent stands still, one fault there, and what must hold afterwards. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { MigrationPhase, MigrationReceipt } from '../../src/node.ts';
import { DwcpError } from '../../src/util/errors.ts';
import type { Draw } from '../integration/faults/draw.ts';
import { armFailPoint, disarmFailPoint, isArmed } from '../integration/faults/fail-point.ts';
import { monotonicNs } from './beat.ts';
import type { Cell } from './cells.ts';
import { describe } from './judge.ts';
import { HOSTS, type Host } from './network.ts';
import { GUEST, type SoakCluster } from './soak-cluster.ts';

export const ELECTION_TIMEOUT_MS = 300;
const STOP_MS = 3 * ELECTION_TIMEOUT_MS;
const RUNS_AGAIN_WITHIN_MS = 10_000;
/** Runs means: was heard counting within this long. */
const HEARD_WITHIN_MS = 500;
const REACHED_WITHIN_MS = 20_000;
const LAST_STEPS_MS = 3_000;
const SETTLED_WITHIN_MS = 60_000;
const POLL_MS = 5;
const OVER: readonly MigrationPhase[] = ['completed', 'failed', 'cancelled'];
/** The first round then lasts about 200 ms: a stop can come in its middle. */
const PACE_BYTES_PER_SEC = 64 * 2 ** 20;

export interface RunResult {
  /** `unreached`: the move ended and nobody came to the step. */
  readonly outcome: 'ok' | 'unreached' | 'violation' | 'stuck';
  readonly why: string;
  /** From the end of the fault until the guest runs in exactly one place. */
  readonly runsAgainMs: number;
}

interface Roles {
  readonly source: Host;
  readonly destination: Host;
  readonly third: Host;
}

export async function soakRun(
  soak: SoakCluster,
  cell: Cell,
  holdMs: number,
  draw: Draw,
): Promise<RunResult> {
  const roles = await settled(soak, draw);
  if (typeof roles === 'string') return ended(soak, 'stuck', roles);
  const victim = cell.victim === 'leader' ? await leaderOf(soak) : roles[cell.victim];
  if (victim === null) return ended(soak, 'unreached', 'nobody knows a leader');
  const standing = roles[cell.side];
  const path = soak.failPointFile(standing);
  armFailPoint(path, { step: cell.step, action: 'stop', skip: 0, delayMs: cell.delayMs });
  const move = startMove(soak, roles);
  const isReached = await until(
    () => (!isArmed(path) && isStopped(soak.pidOf(standing))) || isLongOver(move),
    REACHED_WITHIN_MS,
  );
  if (!isReached || isArmed(path)) {
    disarmFailPoint(path);
    // It may have come to the step at the last moment.
    const pid = soak.pidOf(standing);
    if (pid !== null) process.kill(pid, 'SIGCONT');
    return ended(soak, 'unreached', `the move ended: ${move.ending ?? 'not at all'}`);
  }
  await harm(soak, cell, { roles, victim, standing, holdMs });
  const healedNs = monotonicNs();
  const runs = await until(
    () => runningNow(soak, healedNs).length === 1 || soak.witness.judge.violation !== null,
    RUNS_AGAIN_WITHIN_MS,
  );
  const runsAgainMs = Number((monotonicNs() - healedNs) / 1_000_000n);
  if (!runs) return ended(soak, 'stuck', await whyNot(soak, move.ending), runsAgainMs);
  const end = await settled(soak, draw);
  if (typeof end === 'string') return ended(soak, 'stuck', end, runsAgainMs);
  return ended(soak, 'ok', move.ending ?? 'the move goes on', runsAgainMs);
}

/** A violation outweighs whatever else there is to say. */
function ended(
  soak: SoakCluster,
  outcome: RunResult['outcome'],
  why: string,
  runsAgainMs = 0,
): RunResult {
  const { violation } = soak.witness.judge;
  if (violation !== null) return { outcome: 'violation', why: violation, runsAgainMs };
  return { outcome, why, runsAgainMs };
}

interface Harm {
  readonly roles: Roles;
  readonly victim: Host;
  /** The agent that stands at the step, and goes on once the fault is there. */
  readonly standing: Host;
  readonly holdMs: number;
}

/** Returns when the fault is over: the killed agent is back, the stopped one goes on, the way is free. */
async function harm(
  soak: SoakCluster,
  cell: Cell,
  { roles, victim, standing, holdMs }: Harm,
): Promise<void> {
  const standingPid = soak.pidOf(standing);
  const victimPid = soak.pidOf(victim);
  const goOn = (): void => {
    if (standingPid !== null && standing !== victim) process.kill(standingPid, 'SIGCONT');
  };
  if (cell.fault === 'kill') {
    await soak.kill(victim);
    goOn();
    await delay(holdMs);
    await soak.restart(victim);
    return;
  }
  if (cell.fault === 'stop') {
    if (victimPid !== null) process.kill(victimPid, 'SIGSTOP');
    goOn();
    await delay(STOP_MS);
    if (victimPid !== null) process.kill(victimPid, 'SIGCONT');
    return;
  }
  const others = HOSTS.filter((host) => host !== victim);
  const peer = victim === roles.source ? roles.destination : roles.source;
  for (const other of cell.fault === 'cutQuorum' ? others : [peer]) soak.network.cut(victim, other);
  if (standingPid !== null) process.kill(standingPid, 'SIGCONT');
  await delay(holdMs);
  soak.network.healAll();
}

interface Move {
  /** In words; null while it goes on. */
  ending: string | null;
  endedMs: number;
}

/** The last steps come after the receipt. */
function isLongOver({ ending, endedMs }: Move): boolean {
  return ending !== null && performance.now() - endedMs > LAST_STEPS_MS;
}

function startMove(soak: SoakCluster, { source, destination }: Roles): Move {
  const move: Move = { ending: null, endedMs: 0 };
  const end = (ending: string): void => {
    move.ending = ending;
    move.endedMs = performance.now();
  };
  const options = { to: destination, maxBandwidth: PACE_BYTES_PER_SEC };
  soak
    .client(source)
    .migrate(GUEST, options, () => {})
    .then(
      (receipt: MigrationReceipt) => end(`moved, verified ${receipt.verified}`),
      (error: unknown) =>
        end(error instanceof DwcpError ? `${error.code} ${error.message}` : String(error)),
    );
  return move;
}

/** Counting lately, and since `sinceNs`. */
function runningNow(soak: SoakCluster, sinceNs: bigint): readonly string[] {
  const heardNs = monotonicNs() - BigInt(HEARD_WITHIN_MS) * 1_000_000n;
  return soak.witness.judge.runningSince(heardNs > sinceNs ? heardNs : sinceNs);
}

/** Who plays what in the next move, once the agents agree with the pipes; else what is missing. */
async function settled(soak: SoakCluster, draw: Draw): Promise<Roles | string> {
  let source: Host | null = null;
  let missing = 'nobody was asked';
  const isSettled = await until(async () => {
    if (soak.witness.judge.violation !== null) return true;
    const running = runningNow(soak, 0n);
    const at = running.length === 1 ? soak.witness.nodeOf(running[0] ?? '') : null;
    const said = await saidBy(soak);
    missing = `heard from ${running.join(', ') || 'nobody'}; ${said.guests}; ${said.missing}`;
    if (said.guests !== `${at} running` || said.missing !== '') return false;
    source = at as Host;
    return true;
  }, SETTLED_WITHIN_MS);
  if (!isSettled || source === null) return `not settled: ${missing}`;
  const [destination, third] = draw.shuffled(HOSTS.filter((host) => host !== source));
  return { source, destination: destination ?? 'a', third: third ?? 'a' };
}

/** What the agents believe: only for when the next move may begin, never for who runs. */
async function saidBy(
  soak: SoakCluster,
): Promise<{ readonly guests: string; readonly missing: string }> {
  const guests: string[] = [];
  const missing: string[] = [];
  for (const host of HOSTS) {
    try {
      const { guests: mine, peers } = await soak.client(host).status();
      for (const { state } of mine) guests.push(`${host} ${state}`);
      for (const { id, connected } of peers) if (!connected) missing.push(`${host} misses ${id}`);
      for (const { phase } of await soak.client(host).migrations()) {
        if (!OVER.includes(phase)) missing.push(`${host} is still ${phase}`);
      }
    } catch {
      missing.push(`${host} does not answer`);
    }
  }
  return { guests: guests.join(', '), missing: missing.join(', ') };
}

async function whyNot(soak: SoakCluster, ending: string | null): Promise<string> {
  const spans = soak.witness.judge.spans().slice(-3).map(describe);
  const { guests, missing } = await saidBy(soak);
  return `${ending ?? 'the move goes on'}; heard ${spans.join(', ')}; ${guests}; ${missing}`;
}

/** Null when the group finds none in time. */
async function leaderOf(soak: SoakCluster): Promise<Host | null> {
  let leader: Host | null = null;
  await until(async () => {
    const { group } = await soak.client('a').status();
    leader = HOSTS.find((host) => host === group.leader) ?? null;
    return leader !== null;
  }, RUNS_AGAIN_WITHIN_MS);
  return leader;
}

async function until(holds: () => boolean | Promise<boolean>, withinMs: number): Promise<boolean> {
  const untilMs = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > untilMs) return false;
    await delay(POLL_MS);
  }
  return true;
}

function isStopped(pid: number | null): boolean {
  if (pid === null) return false;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) === 'T';
  } catch {
    return false;
  }
}
