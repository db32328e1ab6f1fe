/**
 * A process of `bench migration` that runs on the source's host, so that it reaches what a shaped link
 * hides from the rest of the machine. It moves the saved VM as often as planned, the contenders in turns.
 */
import { join } from 'node:path';
import { startDemoCluster } from '../src/cli/demo/cluster.ts';
import { lastWords } from '../src/hypervisors/qemu/launch.ts';
import { assert } from '../src/util/assert.ts';
import { DwcpError } from '../src/util/errors.ts';
import { cleanedUp } from './interruption.ts';
import { moveByAgents, moveByQemu, type VmHosts, type VmMove } from './migration-qemu-run.ts';
import type { SavedVm } from './migration-qemu-vm.ts';

/** `agents` is ours; `qemu` without channels is its plain migration, with channels multifd. */
export type VmContender =
  | { readonly type: 'agents'; readonly verify: 'strict' | 'off' }
  | { readonly type: 'qemu'; readonly channels: number };

export interface VmLabPlan {
  readonly vm: SavedVm;
  readonly folder: string;
  readonly hosts: VmHosts;
  readonly addressA: string;
  readonly contenders: readonly VmContender[];
  readonly repetitions: number;
}

export type VmLabReport =
  | { readonly type: 'moved'; readonly contender: number; readonly move: VmMove }
  | { readonly type: 'failed'; readonly contender: number; readonly error: string }
  | { readonly type: 'done' };

/** A round in which a contender failed is made up for this often. */
const MAKE_UP_RUNS_MAX = 2;

async function runLab({ vm, folder, hosts, addressA, contenders, repetitions }: VmLabPlan) {
  const { addressB, enterB } = hosts;
  const cluster = await startDemoCluster({
    // QEMU's own migration is not encrypted either.
    settings: { qemu: { ...vm.qemu }, link: { encryption: 'off' } },
    hosts: { a: addressA, b: addressB, c: addressA },
    prefix: (node) => (node === 'b' ? enterB : []),
  });
  const stop = () => cluster.stop();
  await cleanedUp(stop, async () => {
    const linked = async () => {
      const status = await cluster.clients.get('a')?.status();
      return status?.peers.some((peer) => peer.id === 'b' && peer.connected) ?? false;
    };
    while (!(await linked())) await new Promise((resolve) => setTimeout(resolve, 50));
    let whole = 0;
    for (let run = 0; whole < repetitions && run < repetitions + MAKE_UP_RUNS_MAX; run += 1) {
      let isWhole = true;
      for (const [index, contender] of contenders.entries()) {
        const options = { vm, hosts, folder, name: `run-${process.pid}-${run}-${index}` };
        try {
          const move =
            contender.type === 'agents'
              ? await moveByAgents(options, cluster, contender.verify)
              : await moveByQemu(options, contender.channels);
          report({ type: 'moved', contender: index, move });
        } catch (error) {
          if (!(error instanceof DwcpError)) throw error;
          isWhole = false;
          const said = `${error.code} ${error.message} ${lastWords(join(folder, options.name))}`;
          report({ type: 'failed', contender: index, error: said });
        }
      }
      if (isWhole) whole += 1;
    }
    report({ type: 'done' });
  });
  process.disconnect();
}

function report(message: VmLabReport): void {
  process.send?.(message);
}

const plan = process.argv[2];
assert(plan !== undefined, 'started by bench migration');
await runLab(JSON.parse(plan) as VmLabPlan);
