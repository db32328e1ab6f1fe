/** The mode of one link: measures its way, changes the mode when that is due, and tells how it went. */
import type { dwcp } from '#wire';
import type { LinkModeChange } from '../node.ts';
import { LINK_MODES, type LinkMode } from '../ports/link-mode.ts';
import type { BulkLink } from '../ports/transport.ts';
import { ChunkTuner } from '../protocols/link/chunk-tuner.ts';
import {
  MODE_LIMITS,
  ModeGovernor,
  type ModePolicy,
  type ModeView,
} from '../protocols/link/mode-governor.ts';
import { MODE_THRESHOLDS, ModeJudge } from '../protocols/link/mode-judge.ts';
import { PathMeter, type PathSample } from '../protocols/link/mode-path.ts';
import { type LinkSettings, settingsOf } from '../protocols/link/mode-settings.ts';
import {
  type ModeStep,
  ModeSwitch,
  type ModeSwitchEffect,
  type ModeSwitchInput,
} from '../protocols/link/mode-switch.ts';
import { planSend } from '../protocols/link/send-policy.ts';
import { DwcpError } from '../util/errors.ts';
import type { LinkContext } from './link-messages.ts';
import type { LinkStreams } from './link-streams.ts';
import type { LinkModeStatus } from './messages.ts';
import type { LinksOptions } from './spawn-links.ts';

/** By this name the two sides agree to change modes together. */
export const MODES_FEATURE = 'modes';

export interface LinkModesOptions {
  readonly links: LinksOptions;
  readonly peer: string;
  /** This side leads. */
  readonly dials: boolean;
  readonly send: (envelope: dwcp.IEnvelope, context: LinkContext) => void;
  readonly report: (status: LinkModeStatus, context: LinkContext) => void;
  /** The link is to begin anew. */
  readonly onBroken: (error: DwcpError, context: LinkContext) => void;
}

/** Of a session that stands. */
interface Carrying {
  readonly bulk: BulkLink;
  readonly streams: LinkStreams;
  readonly takePingUs: () => number | null;
}

/** Ten of them are one judgement, in less than 2 s of traffic. */
const BUSY_SAMPLE_US = 150_000;
const IDLE_SAMPLE_US = 1_000_000;
const PATIENCE_US = 10_000_000;
/** How often, and for how long, a change is looked after. */
const LOOK_US = 20_000;
const LOOKS_MAX = 500;
/** A side that sends nothing itself tells by then how long nothing landed. */
const STALL_LOOKS = 50;
const ASSUMED: LinkMode = 'datacenter';

export class LinkModes {
  readonly #options: LinkModesOptions;
  readonly #judge: ModeJudge;
  readonly #meter = new PathMeter();
  readonly #governor: ModeGovernor;
  readonly #switch: ModeSwitch;
  #policy: ModePolicy;
  #settings: LinkSettings;
  #chunks: ChunkTuner;
  #carrying: Carrying | null = null;
  #peer: ModeView | null = null;
  #told: string | null = null;
  #limit = 0;
  #decidedUs = 0;
  #detectedMs: number | null = null;
  #change: LinkModeChange | null = null;
  #looks = 0;
  #isLooked = true;
  #changes = 0;

  constructor(options: LinkModesOptions) {
    const { links } = options;
    this.#options = options;
    this.#policy = links.mode;
    const mode = links.mode === 'auto' ? ASSUMED : links.mode;
    this.#judge = new ModeJudge(links.modeRules ?? MODE_THRESHOLDS);
    this.#governor = new ModeGovernor(mode, links.modeRules ?? MODE_LIMITS);
    this.#switch = new ModeSwitch(mode, PATIENCE_US);
    this.#settings = settingsOf(mode, links);
    this.#chunks = new ChunkTuner(this.#settings.chunk);
  }

  get settings(): LinkSettings {
    return this.#settings;
  }

  set limitBytesPerSec(bytesPerSec: number) {
    this.#limit = bytesPerSec;
  }

  /** A fresh bulk link is tuned as its mode says. */
  prepare(bulk: BulkLink): void {
    this.#tune(bulk, this.#settings);
    bulk.setCodecPolicy(this.#settings.codec);
  }

  /** Both sides are there; a peer that knows no modes keeps its own, and this side the one of now. */
  begin(carrying: Carrying, context: LinkContext): void {
    this.#carrying = carrying;
    this.#peer = null;
    this.#told = null;
    this.#meter.reset();
    this.#judge.forget();
    if (!this.#options.dials) this.#tellView(context);
    context.setTimer('mode', context.nowUs() + BUSY_SAMPLE_US, { type: 'mode', what: 'sample' });
  }

  end(context: LinkContext): void {
    this.#carrying = null;
    this.#peer = null;
    context.cancelTimer('mode');
    context.cancelTimer('mode-late');
    context.cancelTimer('mode-look');
    this.#isLooked = true;
    this.#run({ type: 'linkLost', nowUs: context.nowUs() }, context);
  }

  setPolicy(policy: ModePolicy, context: LinkContext): void {
    if (policy === this.#policy) return;
    this.#policy = policy;
    this.#governor.asked();
    this.#report(context);
    if (this.#carrying === null) return;
    if (this.#options.dials) this.#consider(context);
    else this.#tellView(context);
  }

  receive(what: 'sample' | 'late' | 'look', context: LinkContext): void {
    if (this.#carrying === null) return;
    if (what === 'sample') return this.#sample(this.#carrying, context);
    if (what === 'look') return this.#look(this.#carrying, context);
    this.#run({ type: 'late', nowUs: context.nowUs() }, context);
  }

  /** False for what is not of modes. What the peer may not say is ignored. */
  hear(envelope: dwcp.IEnvelope, context: LinkContext): boolean {
    const { linkModeView, linkModeSwitch, linkModeAnswer } = envelope;
    const nowUs = context.nowUs();
    const { dials } = this.#options;
    if (linkModeView) {
      if (dials) this.#heardView(linkModeView, context);
    } else if (linkModeSwitch) {
      const to = modeNamed(linkModeSwitch.mode);
      const attempt = linkModeSwitch.attempt ?? 0;
      const reason = linkModeSwitch.reason ?? '';
      if (dials || to === null) return true;
      this.#decidedUs = nowUs;
      this.#detectedMs = null;
      this.#run({ type: 'told', nowUs, attempt, to, reason }, context);
    } else if (linkModeAnswer) {
      const attempt = linkModeAnswer.attempt ?? 0;
      const error = linkModeAnswer.error || null;
      if (dials) this.#run({ type: 'answered', nowUs, attempt, error }, context);
    } else {
      return false;
    }
    return true;
  }

  // ---- measuring ----------------------------------------------------------------------------------

  #sample({ bulk, takePingUs }: Carrying, context: LinkContext): void {
    const nowUs = context.nowUs();
    const facts = bulk.pathFacts();
    const pingUs = takePingUs();
    const sample = this.#meter.sample({ nowUs, facts, pingUs, limitBytesPerSec: this.#limit });
    // On a slow way an interval may end without an acknowledgement, though all streams are full.
    const isIdle =
      sample !== null && sample.bytesPerSec.least === null && sample.lossShare === null;
    const nextUs = nowUs + (isIdle ? IDLE_SAMPLE_US : BUSY_SAMPLE_US);
    context.setTimer('mode', nextUs, { type: 'mode', what: 'sample' });
    if (sample === null) return;
    this.#judge.add(sample);
    this.#tuneChunks(bulk, sample);
    if (this.#options.dials) this.#consider(context);
    else this.#tellView(context);
  }

  /** Where the way is the limit; not while a change of the mode is looked after. */
  #tuneChunks(bulk: BulkLink, { atUs, bytesPerSec, lossShare }: PathSample): void {
    const { streams } = bulk.counters();
    if (bytesPerSec.most === null || streams === 0 || !this.#isLooked) return;
    const way = { bytesPerSec: bytesPerSec.most, lossShare, streams };
    if (this.#chunks.step({ nowUs: atUs, ...way }) !== null) this.#tune(bulk, this.#settings);
  }

  /** A transfer of so much begins: in hybrid mode it goes as it is there soonest. */
  willSend(bytes: number, context: LinkContext): void {
    if (this.#switch.mode !== 'hybrid' || this.#carrying === null) return;
    const { least } = this.#judge.estimate().bytesPerSec;
    const { codec, like, reason } = planSend({ bytes, bytesPerSec: least });
    this.#carrying.bulk.setCodecPolicy(codec);
    const { links, peer } = this.#options;
    context.effect(() => links.log?.({ peer, bytes, like }, `how a transfer is sent: ${reason}`));
  }

  #view(): ModeView {
    return { policy: this.#policy, verdict: this.#judge.verdict(this.#switch.mode) };
  }

  #tellView(context: LinkContext): void {
    const { policy, verdict } = this.#view();
    const text = `${policy} ${verdict?.mode ?? ''}`;
    if (text === this.#told) return;
    this.#told = text;
    const linkModeView = { policy, verdict: verdict?.mode ?? '', reason: verdict?.reason ?? '' };
    this.#options.send({ from: 'link', to: 'link', linkModeView }, context);
  }

  #heardView(wire: dwcp.ILinkModeView, context: LinkContext): void {
    const isFirst = this.#peer === null;
    const mode = modeNamed(wire.verdict);
    const sinceUs = context.nowUs();
    this.#peer = {
      policy: modeNamed(wire.policy) ?? 'auto',
      verdict: mode === null ? null : { mode, reason: wire.reason ?? '', sinceUs },
    };
    if (!this.#consider(context) && isFirst) this.#perform([this.#switch.again()], context);
  }

  #consider(context: LinkContext): boolean {
    if (this.#peer === null || !this.#switch.isSteady) return false;
    const nowUs = context.nowUs();
    const decision = this.#governor.decide(nowUs, this.#view(), this.#peer);
    if (decision === null) return false;
    const { to, forced, reason, sinceUs } = decision;
    this.#decidedUs = nowUs;
    this.#detectedMs = sinceUs === null ? null : (nowUs - sinceUs) / 1000;
    this.#run({ type: 'begin', nowUs, to, forced, reason }, context);
    return true;
  }

  // ---- changing -----------------------------------------------------------------------------------

  #run(input: ModeSwitchInput, context: LinkContext): void {
    this.#perform(this.#switch.step(input), context);
  }

  #perform(effects: readonly ModeSwitchEffect[], context: LinkContext): void {
    for (const effect of effects) {
      const nowUs = context.nowUs();
      switch (effect.type) {
        case 'apply': {
          const { step, mode } = effect;
          const error = this.#apply(step, mode, context);
          this.#run({ type: 'applied', nowUs, step, error }, context);
          break;
        }
        case 'tell': {
          const { attempt, to, reason } = effect;
          const linkModeSwitch = { attempt, mode: to, reason };
          this.#options.send({ from: 'link', to: 'link', linkModeSwitch }, context);
          break;
        }
        case 'answer': {
          const linkModeAnswer = { attempt: effect.attempt, error: effect.error ?? '' };
          this.#options.send({ from: 'link', to: 'link', linkModeAnswer }, context);
          break;
        }
        case 'waitUntil':
          context.setTimer('mode-late', effect.atUs, { type: 'mode', what: 'late' });
          break;
        case 'restart':
          this.#options.onBroken(broken(this.#options.peer, effect.why), context);
          return;
        default:
          this.#ended(effect, context);
      }
    }
  }

  #ended(
    effect: ModeSwitchEffect & { type: 'inForce' | 'agreed' | 'rolledBack' },
    context: LinkContext,
  ): void {
    const nowUs = context.nowUs();
    const { type, change } = effect;
    const before = type === 'agreed' ? this.#change : null;
    if (before === null && type !== 'rolledBack') this.#changes += 1;
    this.#change = {
      number: this.#changes,
      ...change,
      outcome: type,
      problem: effect.type === 'rolledBack' ? effect.why : null,
      detectedMs: this.#detectedMs,
      appliedMs: before?.appliedMs ?? (nowUs - this.#decidedUs) / 1000,
      effectiveMs: before?.effectiveMs ?? null,
      stallMs: before?.stallMs ?? null,
    };
    if (type === 'inForce') {
      this.#governor.changed(nowUs, change.to, change.forced);
      this.#judge.forget();
      this.#meter.reset();
      this.#looks = 0;
      this.#isLooked = false;
      context.setTimer('mode-look', nowUs + LOOK_US, { type: 'mode', what: 'look' });
    } else if (type === 'rolledBack') {
      this.#governor.changed(nowUs, change.from, change.forced);
      this.#governor.failed(nowUs);
      context.cancelTimer('mode-look');
      this.#isLooked = true;
    }
    if (type !== 'inForce') context.cancelTimer('mode-late');
    this.#log(this.#change, context);
    this.#report(context);
  }

  /** Until every stream carried a chunk under the new settings. */
  #look({ bulk }: Carrying, context: LinkContext): void {
    const { streams, effectiveStreams, effectiveUs, stallUs } = bulk.tuning();
    this.#looks += 1;
    const isEffective = streams > 0 && effectiveStreams === streams;
    const goesOn = !isEffective && this.#looks < LOOKS_MAX;
    this.#isLooked = !goesOn;
    if (goesOn) {
      context.setTimer('mode-look', context.nowUs() + LOOK_US, { type: 'mode', what: 'look' });
    }
    if (this.#change === null || (goesOn && this.#looks !== STALL_LOOKS)) return;
    this.#change = {
      ...this.#change,
      effectiveMs: isEffective ? effectiveUs / 1000 : null,
      stallMs: stallUs > 0 ? stallUs / 1000 : null,
    };
    this.#report(context);
  }

  #apply(step: ModeStep, mode: LinkMode, context: LinkContext): string | null {
    const { bulk, streams } = this.#carrying ?? {};
    if (bulk === undefined || streams === undefined) return 'the link is down';
    const settings = settingsOf(mode, this.#options.links);
    switch (step) {
      case 'transport':
        this.#chunks = new ChunkTuner(settings.chunk);
        return this.#tune(bulk, settings);
      case 'codecs':
        bulk.setCodecPolicy(settings.codec);
        return null;
      case 'timeouts':
        this.#settings = settings;
        return null;
      case 'streams':
        streams.tune(settings, context);
        return null;
    }
  }

  /** A kernel without the algorithm that the mode would have takes the one that every kernel has. */
  #tune(bulk: BulkLink, settings: LinkSettings): string | null {
    const { congestionControl, unreadTimeoutMs, unsentBytes } = settings;
    const { chunkBytes } = this.#chunks;
    const tuning = { congestionControl, chunkBytes, unreadTimeoutMs, unsentBytes };
    const refused = bulk.tune(tuning);
    if (refused === null || congestionControl === 'cubic') return refused;
    return bulk.tune({ ...tuning, congestionControl: 'cubic' });
  }

  #report(context: LinkContext): void {
    const { mode } = this.#switch;
    this.#options.report({ mode, policy: this.#policy, change: this.#change }, context);
  }

  #log({ from, to, outcome, reason, problem }: LinkModeChange, context: LinkContext): void {
    const { links, peer } = this.#options;
    const text = problem === null ? reason : `${reason}; ${problem}`;
    context.effect(() => links.log?.({ peer, from, to, outcome }, `mode of the link: ${text}`));
  }
}

function modeNamed(name: string | null | undefined): LinkMode | null {
  return LINK_MODES.find((mode) => mode === name) ?? null;
}

function broken(peer: string, why: string): DwcpError {
  return new DwcpError('ERR_DWCP_NATIVE', `the link to ${peer} could not be tuned: ${why}`);
}
