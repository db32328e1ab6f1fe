import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LinkMode } from '../../src/ports/link-mode.ts';
import {
  MODE_STEPS,
  type ModeStep,
  ModeSwitch,
  type ModeSwitchEffect,
  type ModeSwitchInput,
} from '../../src/protocols/link/mode-switch.ts';

const PATIENCE_US = 1000;

/** One side: does every step, unless it shall fail, and remembers what it was told to do. */
class Side {
  readonly core = new ModeSwitch('datacenter', PATIENCE_US);
  readonly mode = new Map<ModeStep, LinkMode>(MODE_STEPS.map((step) => [step, 'datacenter']));
  readonly steps: string[] = [];
  readonly said: ModeSwitchEffect[] = [];
  /** The step that fails, and how often. */
  fails: { step: ModeStep; mode: LinkMode; times: number } | null = null;

  run(input: ModeSwitchInput): void {
    this.#perform(this.core.step(input));
  }

  outcomes(): string[] {
    return this.said.map(({ type }) => type).filter((type) => type !== 'tell' && type !== 'answer');
  }

  take<T extends 'tell' | 'answer'>(type: T): ModeSwitchEffect & { type: T } {
    const index = this.said.findIndex((effect) => effect.type === type);
    assert.ok(index >= 0, `no ${type}`);
    return this.said.splice(index, 1)[0] as ModeSwitchEffect & { type: T };
  }

  modes(): string[] {
    return [...new Set(this.mode.values())];
  }

  #perform(effects: readonly ModeSwitchEffect[]): void {
    for (const effect of effects) {
      if (effect.type !== 'apply') {
        this.said.push(effect);
        continue;
      }
      const { step, mode } = effect;
      const isFailing = this.fails?.step === step && this.fails.mode === mode;
      if (isFailing && this.fails !== null && this.fails.times > 0) {
        this.fails.times -= 1;
        this.run({ type: 'applied', nowUs: 0, step, error: 'refused' });
      } else {
        this.mode.set(step, mode);
        this.steps.push(`${step} ${mode}`);
        this.run({ type: 'applied', nowUs: 0, step, error: null });
      }
    }
  }
}

function begin(lead: Side, to: LinkMode = 'internet'): void {
  lead.run({ type: 'begin', nowUs: 0, to, forced: false, reason: 'far' });
}

/** What was told is heard, and answered. */
function deliver(lead: Side, follow: Side): void {
  const { attempt, to, reason } = lead.take('tell');
  follow.run({ type: 'told', nowUs: 0, attempt, to, reason });
  const answer = follow.take('answer');
  lead.run({ type: 'answered', nowUs: 0, attempt: answer.attempt, error: answer.error });
}

test('both sides take every step in order, and then agree', () => {
  const [lead, follow] = [new Side(), new Side()];
  begin(lead);
  assert.deepEqual(
    lead.steps,
    MODE_STEPS.map((step) => `${step} internet`),
  );
  assert.equal(lead.core.isSteady, false, 'the peer was not heard yet');
  deliver(lead, follow);
  assert.deepEqual(follow.steps, lead.steps);
  assert.deepEqual(lead.outcomes(), ['inForce', 'waitUntil', 'agreed']);
  assert.deepEqual(follow.outcomes(), ['inForce', 'agreed']);
  assert.deepEqual([lead.core.mode, follow.core.mode], ['internet', 'internet']);
  assert.ok(lead.core.isSteady && follow.core.isSteady);
});

test('whichever step fails, those before it are taken back in reverse and the peer hears nothing', () => {
  for (const [index, step] of MODE_STEPS.entries()) {
    const lead = new Side();
    lead.fails = { step, mode: 'internet', times: 1 };
    begin(lead);
    const back = MODE_STEPS.slice(0, index + 1).reverse();
    assert.deepEqual(
      lead.steps.slice(index),
      back.map((each) => `${each} datacenter`),
    );
    assert.deepEqual(lead.outcomes(), ['rolledBack']);
    assert.ok(lead.said.every(({ type }) => type !== 'tell'));
    assert.deepEqual([lead.modes(), lead.core.mode], [['datacenter'], 'datacenter']);
    assert.ok(lead.core.isSteady);
  }
});

test('a step that fails at the peer takes everything back on both sides', () => {
  for (const step of MODE_STEPS) {
    const [lead, follow] = [new Side(), new Side()];
    follow.fails = { step, mode: 'internet', times: 1 };
    begin(lead);
    deliver(lead, follow);
    deliver(lead, follow);
    assert.deepEqual([lead.modes(), follow.modes()], [['datacenter'], ['datacenter']]);
    assert.deepEqual([lead.core.mode, follow.core.mode], ['datacenter', 'datacenter']);
    assert.deepEqual(lead.outcomes(), ['inForce', 'waitUntil', 'rolledBack']);
    assert.deepEqual(follow.outcomes(), ['rolledBack']);
  }
});

test('a peer that does not answer in time is told to go back, though it may have changed', () => {
  const [lead, follow] = [new Side(), new Side()];
  begin(lead);
  const first = lead.take('tell');
  follow.run({ type: 'told', nowUs: 0, attempt: first.attempt, to: first.to, reason: '' });
  const lateAnswer = follow.take('answer');
  lead.run({ type: 'late', nowUs: PATIENCE_US });
  lead.run({ type: 'answered', nowUs: 0, attempt: lateAnswer.attempt, error: null });
  assert.equal(lead.core.mode, 'datacenter', 'the late answer is of another attempt');
  deliver(lead, follow);
  assert.deepEqual([lead.modes(), follow.modes()], [['datacenter'], ['datacenter']]);
});

test('what can neither be done nor taken back begins the link anew', () => {
  const lead = new Side();
  lead.fails = { step: 'codecs', mode: 'internet', times: 1 };
  const failing = lead.run.bind(lead);
  lead.run = (input) => {
    if (input.type === 'applied' && input.step === 'transport' && lead.steps.length > 1) {
      failing({ ...input, error: 'gone' });
    } else failing(input);
  };
  begin(lead);
  assert.deepEqual(lead.outcomes(), ['restart']);
});

test('a link that was lost half way is told its mode again, and both sides are in it', () => {
  const [lead, follow] = [new Side(), new Side()];
  begin(lead);
  lead.take('tell');
  lead.run({ type: 'linkLost', nowUs: 0 });
  assert.ok(lead.core.isSteady);
  const again = lead.core.again();
  assert.ok(again.type === 'tell' && again.to === 'internet');
  const { attempt, to, reason } = again;
  follow.run({ type: 'told', nowUs: 0, attempt, to, reason });
  assert.equal(follow.core.mode, 'internet');
  const told = follow.steps.length;
  follow.run({ type: 'told', nowUs: 0, attempt, to, reason });
  assert.equal(follow.steps.length, told, 'nothing is done twice');
});
