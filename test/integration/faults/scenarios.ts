/** Every step at which an agent or a connection is made to fail, and where the guest must be then. */
import type { FailAction } from './fail-point.ts';

export interface Scenario {
  readonly victim: 'source' | 'destination';
  readonly step: string;
  readonly action: FailAction;
  readonly skip: number;
  readonly delayMs: number;
  /** Where it runs once both agents are back; `either` where commit and abort race in the log. */
  readonly ends: 'source' | 'destination' | 'either';
  /** The destination is down and owns the guest: the source stands fenced and says that it waits. */
  readonly isUnknown: boolean;
  /** The guest runs on, so the source waits for the destination's return, and what becomes of the move. */
  readonly isWaiting: boolean;
  /** The source was fenced, so it runs again only once the group noted the abort. */
  readonly isFenced: boolean;
  /** The destination stays away, and an operator claims the guest for the source. */
  readonly isClaimed: boolean;
}

type Variation = Partial<Omit<Scenario, 'victim' | 'step' | 'ends'>>;

function at(
  victim: Scenario['victim'],
  ends: Scenario['ends'],
  step: string,
  variation: Variation = {},
): Scenario {
  const plain = {
    action: 'kill',
    skip: 0,
    delayMs: 0,
    isUnknown: false,
    isWaiting: false,
    isFenced: false,
    isClaimed: false,
  } as const;
  return { ...plain, victim, step, ends, ...variation };
}

/** Long enough after the start of the first round, short enough before its end at the test's pace. */
const MID_ROUND = { delayMs: 60 } as const;

export const memoryScenarios: readonly Scenario[] = [
  // The source dies before `fenced` was sent: it is the source's guest, whatever the other side did. Once it
  // had noted its rounds the next agent goes on with them, as long as it did not note its fence.
  at('source', 'source', 'before send prepareRequest'),
  at('source', 'source', 'after send prepareRequest'),
  at('source', 'either', 'before openOutgoing'),
  at('source', 'destination', 'before round', MID_ROUND),
  at('source', 'destination', 'after round'),
  at('source', 'destination', 'before stopAndCopy'),
  at('source', 'destination', 'after stopAndCopy'),
  at('source', 'destination', 'before send copied'),
  at('source', 'destination', 'after send copied'),
  at('source', 'destination', 'before fence'),
  at('source', 'destination', 'after fence'),
  at('source', 'destination', 'before put fence'),
  at('source', 'source', 'after put fence'),
  at('source', 'source', 'before send fenced'),
  // It dies with `fenced` sent: the destination's commit races the abort that it proposes on its return,
  // and may be late where the group lost its leader with it.
  at('source', 'either', 'after send fenced'),
  at('source', 'destination', 'before outgoing.digests'),
  at('source', 'destination', 'after outgoing.digests'),
  at('source', 'destination', 'before release'),
  at('source', 'destination', 'after release'),
  at('source', 'destination', 'before remove guest'),
  at('source', 'destination', 'after remove guest'),
  at('source', 'destination', 'before remove fence'),
  at('source', 'destination', 'after remove fence'),
  // The destination dies before the source gave the guest up.
  at('destination', 'source', 'before prepareIncoming'),
  at('destination', 'source', 'after prepareIncoming'),
  at('destination', 'source', 'before send prepareReply'),
  at('destination', 'destination', 'after send prepareReply', { isWaiting: true, ...MID_ROUND }),
  at('destination', 'source', 'before load'),
  at('destination', 'source', 'before send loaded'),
  // It dies with `fenced` in its hands and nothing committed: the two others note the abort without it.
  at('destination', 'source', 'before put arrival', { isFenced: true }),
  at('destination', 'source', 'after put arrival', { isFenced: true }),
  // It dies with its commit in the log: the guest is its own, and it resumes it on its return.
  at('destination', 'destination', 'before resume', { isUnknown: true }),
  at('destination', 'destination', 'after resume', { isUnknown: true }),
  at('destination', 'destination', 'before put guest', { isUnknown: true }),
  at('destination', 'destination', 'before send resumed', { isUnknown: true }),
  // It never returns, as far as an operator knows; when it does, its own copy is not the guest any more.
  at('destination', 'source', 'before resume', { isUnknown: true, isClaimed: true }),
  at('destination', 'destination', 'after send resumed'),
  at('destination', 'destination', 'before incoming.digests'),
  at('destination', 'destination', 'before send verifyResult'),
  at('destination', 'destination', 'before remove arrival'),
  at('destination', 'destination', 'after remove arrival'),
  // Connections: a stream's chunks go on over the others; a link that comes back goes on as well, in time
  // where the guest stands still.
  at('source', 'destination', 'before round', { action: 'cutStream', ...MID_ROUND }),
  at('destination', 'destination', 'after send prepareReply', {
    action: 'cutStream',
    ...MID_ROUND,
  }),
  at('source', 'destination', 'before round', { action: 'cutLink', ...MID_ROUND }),
  at('destination', 'destination', 'after send prepareReply', { action: 'cutLink', ...MID_ROUND }),
  at('source', 'either', 'before fence', { action: 'cutLink' }),
  at('source', 'source', 'before send fenced', { action: 'cutLink' }),
  at('destination', 'either', 'before put arrival', { action: 'cutLink' }),
  at('destination', 'either', 'after put arrival', { action: 'cutLink' }),
  at('destination', 'destination', 'before resume', { action: 'cutLink' }),
  at('destination', 'destination', 'before send resumed', { action: 'cutLink' }),
];

/** The same for a guest that is compared before it is fenced, and whose stream QEMU itself writes. */
export const qemuScenarios: readonly Scenario[] = [
  at('source', 'source', 'before send prepareRequest'),
  at('source', 'source', 'after round'),
  at('source', 'source', 'after stopAndCopy'),
  at('source', 'source', 'before outgoing.digests'),
  at('source', 'source', 'after fence'),
  at('source', 'source', 'after put fence'),
  at('source', 'either', 'after send fenced'),
  at('source', 'destination', 'before release'),
  at('source', 'destination', 'before remove fence'),
  at('destination', 'source', 'after prepareIncoming'),
  at('destination', 'source', 'before load'),
  at('destination', 'source', 'before send loaded'),
  at('destination', 'source', 'before put arrival', { isFenced: true }),
  at('destination', 'source', 'after put arrival', { isFenced: true }),
  at('destination', 'destination', 'before resume', { isUnknown: true }),
  at('destination', 'source', 'before resume', { isUnknown: true, isClaimed: true }),
  at('destination', 'destination', 'after resume', { isUnknown: true }),
  at('destination', 'destination', 'before remove arrival'),
  at('destination', 'either', 'before send loaded', { action: 'cutLink' }),
];
