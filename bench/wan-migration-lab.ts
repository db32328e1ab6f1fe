/**
 * The process of `bench wan-migration` on the source's host: what happens there, and what a WAN hides from the
 * rest of the machine, is done and seen from here. It saves the guest once and moves it as often as planned,
 * the arms in turns.
 */
import { join } from 'node:path';
import { lastWords } from '../src/hypervisors/qemu/launch.ts';
import { assert } from '../src/util/assert.ts';
import { DwcpError } from '../src/util/errors.ts';
import { type GuestPlan, type SavedGuest, saveGuest } from './wan-guest.ts';
import {
  type LinkCount,
  moveByAgents,
  moveByQemu,
  type WanArm,
  type WanMove,
  type WanRunOptions,
} from './wan-migration-run.ts';

export interface WanLabPlan
  extends Omit<WanRunOptions, 'vm' | 'sibling' | 'name' | 'onShare' | 'countLink'> {
  readonly guest: Omit<GuestPlan, 'folder' | 'enterClient'>;
  readonly arms: readonly WanArm[];
  readonly repetitions: number;
}

export type WanLabReport =
  | ({ readonly type: 'saved' } & Pick<SavedGuest, 'nonZeroShare' | 'fileBytes' | 'valueBytes'>)
  | { readonly type: 'share'; readonly arm: number; readonly share: number }
  | { readonly type: 'moved'; readonly arm: number; readonly move: WanMove }
  | { readonly type: 'failed'; readonly arm: number; readonly error: string }
  /** Answered with a {@link LinkCount}. */
  | { readonly type: 'count' }
  | { readonly type: 'done' };

/** A round in which an arm failed is made up for this often. */
const MAKE_UP_ROUNDS_MAX = 2;
/** The same files in its page cache, and values of its own. */
const SIBLING = { name: 'sibling', seed: 2 } as const;
const SHARE_EVERY_MS = 500;

async function runLab(plan: WanLabPlan): Promise<void> {
  const { folder, enterClient, arms, repetitions } = plan;
  const vm = await saveGuest({ ...plan.guest, folder, enterClient });
  const needsSibling = arms.some((arm) => arm.type === 'agents' && arm.seen === 'image');
  const sibling = needsSibling
    ? await saveGuest({ ...plan.guest, folder, enterClient, ...SIBLING })
    : null;
  const { nonZeroShare, fileBytes, valueBytes } = vm;
  report({ type: 'saved', nonZeroShare, fileBytes, valueBytes });
  let whole = 0;
  for (let round = 0; whole < repetitions && round < repetitions + MAKE_UP_ROUNDS_MAX; round += 1) {
    let isWhole = true;
    for (const [index, arm] of arms.entries()) {
      const name = `run-${process.pid}-${round}-${index}`;
      const onShare = seldom((share) => report({ type: 'share', arm: index, share }));
      const options = { ...plan, vm, sibling, name, onShare, countLink };
      try {
        const move = await (arm.type === 'agents'
          ? moveByAgents(options, arm)
          : moveByQemu(options, arm));
        report({ type: 'moved', arm: index, move });
      } catch (error) {
        if (!(error instanceof DwcpError)) throw error;
        isWhole = false;
        const said = `${error.code} ${error.message} ${lastWords(join(folder, name))}`;
        report({ type: 'failed', arm: index, error: said });
      }
    }
    if (isWhole) whole += 1;
  }
  report({ type: 'done' });
  process.disconnect();
}

function seldom(say: (share: number) => void): (share: number) => void {
  let lastMs = 0;
  return (share) => {
    const nowMs = performance.now();
    if (nowMs - lastMs < SHARE_EVERY_MS) return;
    lastMs = nowMs;
    say(share);
  };
}

function countLink(): Promise<LinkCount> {
  return new Promise((resolve) => {
    process.once('message', (count) => resolve(count as LinkCount));
    report({ type: 'count' });
  });
}

function report(message: WanLabReport): void {
  process.send?.(message);
}

const plan = process.argv[2];
assert(plan !== undefined, 'started by bench wan-migration');
await runLab(JSON.parse(plan) as WanLabPlan);
