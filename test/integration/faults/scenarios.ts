/** Every step at which an agent or a connection is made to fail, and where the guest must be then. */
import type { FailAction } from './fail-point.ts';

export interface Scenario {
  readonly victim: 'source' | 'destination';
  readonly step: string;
  readonly action: FailAction;
  readonly skip: number;
  readonly delayMs: number;
  /** Where it runs once both agents are back. */
  readonly ends: 'source' | 'destination';
  /** While the victim is down: the source stands fenced and says that it does not know. */
  readonly isUnknown: boolean;
  /** The destination stays away, and the operator settles it. */
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
    isClaimed: false,
  } as const;
  return { ...plain, victim, step, ends, ...variation };
}

/** Long enough after the start of the first round, short enough before its end at the test's pace. */
const MID_ROUND = { delayMs: 60 } as const;

export const memoryScenarios: readonly Scenario[] = [
  // The source dies before `fenced` was sent: it is the source's guest, whatever the other side did.
  at('source', 'source', 'before send prepareRequest'),
  at('source', 'source', 'after send prepareRequest'),
  at('source', 'source', 'before openOutgoing'),
  at('source', 'source', 'before round', MID_ROUND),
  at('source', 'source', 'after round'),
  at('source', 'source', 'before stopAndCopy'),
  at('source', 'source', 'after stopAndCopy'),
  at('source', 'source', 'before send copied'),
  at('source', 'source', 'after send copied'),
  at('source', 'source', 'before fence'),
  at('source', 'source', 'after fence'),
  at('source', 'source', 'before put fence'),
  at('source', 'source', 'after put fence'),
  at('source', 'source', 'before send fenced'),
  // It dies with `fenced` sent: the destination decides without it, and it learns that on its return.
  at('source', 'destination', 'after send fenced'),
  at('source', 'destination', 'before outgoing.digests'),
  at('source', 'destination', 'after outgoing.digests'),
  at('source', 'destination', 'before release'),
  at('source', 'destination', 'after release'),
  at('source', 'destination', 'before remove guest'),
  at('source', 'destination', 'after remove guest'),
  at('source', 'destination', 'before remove fence'),
  at('source', 'destination', 'after remove fence'),
  at('source', 'destination', 'before send settled'),
  at('source', 'destination', 'after send settled'),
  // The destination dies before the source gave the guest up.
  at('destination', 'source', 'before prepareIncoming'),
  at('destination', 'source', 'after prepareIncoming'),
  at('destination', 'source', 'before send prepareReply'),
  at('destination', 'source', 'after send prepareReply', MID_ROUND),
  at('destination', 'source', 'before load'),
  at('destination', 'source', 'before send loaded'),
  // It dies with `fenced` in its hands and nothing decided: on its return it decides to abort.
  at('destination', 'source', 'before put decision', { isUnknown: true }),
  at('destination', 'source', 'before put decision', { isUnknown: true, isClaimed: true }),
  // It dies with its decision durable: the guest is its own, and it resumes it on its return.
  at('destination', 'destination', 'after put decision', { isUnknown: true }),
  at('destination', 'destination', 'before resume', { isUnknown: true }),
  at('destination', 'destination', 'after resume', { isUnknown: true }),
  at('destination', 'destination', 'before put guest', { isUnknown: true }),
  at('destination', 'destination', 'before send decision', { isUnknown: true }),
  at('destination', 'destination', 'after send decision'),
  at('destination', 'destination', 'before incoming.digests'),
  at('destination', 'destination', 'before send verifyResult'),
  at('destination', 'destination', 'before remove decision'),
  // Connections: a stream's chunks go on over the others; without a link it is as if the peer had died.
  at('source', 'destination', 'before round', { action: 'cutStream', ...MID_ROUND }),
  at('destination', 'destination', 'after send prepareReply', {
    action: 'cutStream',
    ...MID_ROUND,
  }),
  at('source', 'source', 'before round', { action: 'cutLink', ...MID_ROUND }),
  at('destination', 'source', 'after send prepareReply', { action: 'cutLink', ...MID_ROUND }),
  at('source', 'source', 'before fence', { action: 'cutLink' }),
  at('source', 'source', 'before send fenced', { action: 'cutLink' }),
  at('destination', 'destination', 'after put decision', { action: 'cutLink' }),
  at('destination', 'destination', 'before send decision', { action: 'cutLink' }),
];

/** The same for a guest that is compared before it is fenced, and whose stream QEMU itself writes. */
export const qemuScenarios: readonly Scenario[] = [
  at('source', 'source', 'before send prepareRequest'),
  at('source', 'source', 'after round'),
  at('source', 'source', 'after stopAndCopy'),
  at('source', 'source', 'before outgoing.digests'),
  at('source', 'source', 'after fence'),
  at('source', 'source', 'after put fence'),
  at('source', 'destination', 'after send fenced'),
  at('source', 'destination', 'before release'),
  at('source', 'destination', 'before remove fence'),
  at('destination', 'source', 'after prepareIncoming'),
  at('destination', 'source', 'before load'),
  at('destination', 'source', 'before send loaded'),
  at('destination', 'source', 'before put decision', { isUnknown: true }),
  at('destination', 'source', 'before put decision', { isUnknown: true, isClaimed: true }),
  at('destination', 'destination', 'after put decision', { isUnknown: true }),
  at('destination', 'destination', 'after resume', { isUnknown: true }),
  at('destination', 'destination', 'before remove decision'),
  at('destination', 'source', 'before send loaded', { action: 'cutLink' }),
];
