/** Two processes with a link between them, and pages that move while its mode is changed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { LinkModeStatus } from '../src/actors/messages.ts';
import type { ModeRules } from '../src/actors/spawn-links.ts';
import { createAuthority, issueNode } from '../src/identity/authority.ts';
import type { LinkMode, LinkModeChange } from '../src/node.ts';
import { assert } from '../src/util/assert.ts';
import { cleanedUp } from './interruption.ts';
import type { Wan } from './lab/wan.ts';
import type { ModeEndOrder, ModeEndPlan, ModeEndReport } from './mode-switch-end.ts';

export interface PairSettings {
  readonly streams: number;
  readonly mode: LinkMode | 'auto';
  readonly rules: ModeRules;
  readonly regionBytes: number;
  readonly wan: Wan | null;
}

export interface SwitchSample {
  readonly to: LinkMode;
  readonly appliedMs: number;
  /** Until every stream had carried a chunk under the new settings; null: not within the time given. */
  readonly effectiveMs: number | null;
  /** At the receiver; null where it could not say. */
  readonly stallMs: number | null;
}

export interface Damage {
  readonly lostBytes: number;
  readonly doubledBytes: number;
}

type Finished = ModeEndReport & { type: 'finished' };

const END = fileURLToPath(new URL('./mode-switch-end.js', import.meta.url));
export const WITHIN_MS = 60_000;
/** A link looks after a change for 10 s. */
export const EFFECTIVE_WITHIN_MS = 12_000;

export class ModePair {
  readonly #settings: PairSettings;
  readonly #a: EndProcess;
  readonly #b: EndProcess;

  private constructor(settings: PairSettings, a: EndProcess, b: EndProcess) {
    this.#settings = settings;
    this.#a = a;
    this.#b = b;
  }

  /** Once pages move. */
  static async start(settings: PairSettings): Promise<ModePair> {
    const authority = await createAuthority();
    const { wan, streams, mode, rules, regionBytes } = settings;
    const host = (id: 'a' | 'b'): string => wan?.addresses[id] ?? '127.0.0.1';
    const common = { streams, mode, rules, regionBytes };
    const plan = async (id: 'a' | 'b', peer: 'a' | 'b', port: number): Promise<ModeEndPlan> => ({
      ...{ ...common, id, identity: await issueNode(authority, id) },
      listen: { host: host(id), port: 0 },
      peer: { id: peer, address: { host: host(peer), port } },
    });
    const b = new EndProcess(await plan('b', 'a', 1), wan?.enter.b ?? []);
    try {
      const { port } = await b.next('listening');
      const a = new EndProcess(await plan('a', 'b', port), wan?.enter.a ?? []);
      await a.next('flowing').catch((error: unknown) => {
        a.kill();
        throw error;
      });
      return new ModePair(settings, a, b);
    } catch (error) {
      b.kill();
      throw error;
    }
  }

  /** Both processes end with it, and what they moved is compared. */
  async during(work: () => Promise<void>): Promise<Damage> {
    const kill = (): void => {
      this.#a.kill();
      this.#b.kill();
    };
    return await cleanedUp(kill, async () => {
      await work();
      this.#a.order({ type: 'finish' });
      const sent = await this.#a.next('finished');
      this.#b.order({ type: 'finish' });
      return this.#compare(sent, await this.#b.next('finished'));
    });
  }

  /** Resolves once both sides agreed, and said, or could not within {@link EFFECTIVE_WITHIN_MS}, how it went. */
  async force(to: LinkMode): Promise<SwitchSample> {
    this.#a.order({ type: 'force', policy: to });
    const here = (status: LinkModeStatus): boolean =>
      status.change?.to === to && status.change.outcome === 'agreed';
    const there = (status: LinkModeStatus): boolean => status.change?.to === to;
    await this.#a.mode(here);
    await this.#b.mode(there);
    await Promise.all([
      this.#a.settled((status) => here(status) && status.change?.effectiveMs != null),
      this.#b.settled((status) => there(status) && status.change?.stallMs != null),
    ]);
    const { appliedMs = 0, effectiveMs = null } = (await this.#a.mode(here)).change ?? {};
    const { stallMs = null } = (await this.#b.mode(there)).change ?? {};
    return { to, appliedMs, effectiveMs, stallMs };
  }

  /** The first change that the link decided by itself; null where it decided none within {@link WITHIN_MS}. */
  async changed(): Promise<LinkModeChange | null> {
    const isThere = ({ change }: LinkModeStatus): boolean => change?.outcome === 'agreed';
    if (!(await this.#a.settled(isThere, WITHIN_MS))) return null;
    return (await this.#a.mode(isThere)).change;
  }

  get changes(): number {
    return this.#a.lastChange;
  }

  #compare(sent: Finished, landed: Finished): Damage {
    assert(sent.digest === landed.digest, 'source and destination memory differ');
    const wanted = sent.passes * this.#settings.regionBytes;
    assert(sent.bytes === wanted, `${sent.bytes} bytes were acknowledged of ${wanted}`);
    return {
      lostBytes: Math.max(0, wanted - landed.bytes),
      doubledBytes: Math.max(0, landed.bytes - wanted),
    };
  }
}

class EndProcess {
  lastChange = 0;
  readonly #child: ChildProcess;
  readonly #reports: ModeEndReport[] = [];
  #status: LinkModeStatus | null = null;
  #heard: () => void = () => {};
  #ended: string | null = null;

  constructor(plan: ModeEndPlan, enter: readonly string[]) {
    const [first = '', ...rest] = [...enter, process.execPath, END, JSON.stringify(plan)];
    this.#child = spawn(first, rest, { stdio: ['ignore', 2, 2, 'ipc'] });
    this.#child.on('message', (report: ModeEndReport) => {
      if (report.type === 'mode') {
        this.#status = report.status;
        const { change } = report.status;
        if (change !== null && !change.forced) this.lastChange = change.number;
      } else this.#reports.push(report);
      this.#heard();
    });
    this.#child.on('exit', (code) => {
      this.#ended = `end ${plan.id} of the link exited with ${code}`;
      this.#heard();
    });
  }

  order(order: ModeEndOrder): void {
    this.#child.send(order);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  next<T extends ModeEndReport['type']>(type: T): Promise<ModeEndReport & { type: T }> {
    return this.#until(() => {
      const index = this.#reports.findIndex((report) => report.type === type);
      if (index < 0) return null;
      return this.#reports.splice(index, 1)[0] as ModeEndReport & { type: T };
    }, type);
  }

  /** False where it did not come so in time. */
  async settled(
    isRight: (status: LinkModeStatus) => boolean,
    withinMs: number = EFFECTIVE_WITHIN_MS,
  ): Promise<boolean> {
    try {
      await this.mode(isRight, withinMs);
      return true;
    } catch (error) {
      if (this.#ended !== null) throw error;
      return false;
    }
  }

  mode(
    isRight: (status: LinkModeStatus) => boolean,
    withinMs: number = WITHIN_MS,
  ): Promise<LinkModeStatus> {
    const look = (): LinkModeStatus | null =>
      this.#status !== null && isRight(this.#status) ? this.#status : null;
    return this.#until(look, 'mode', withinMs);
  }

  #until<T>(look: () => T | null, what: string, withinMs: number = WITHIN_MS): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`no ${what} in time; last: ${JSON.stringify(this.#status)}`));
      }, withinMs);
      this.#heard = () => {
        const found = look();
        if (found === null && this.#ended === null) return;
        clearTimeout(timer);
        this.#heard = () => {};
        if (found !== null) resolve(found);
        else reject(new Error(this.#ended ?? ''));
      };
      this.#heard();
    });
  }
}
