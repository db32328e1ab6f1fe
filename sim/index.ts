/**
 * `dwcp/sim`: a deterministic simulator for actors and protocols, one's own as well as ours. Import it
 * before the code under test, so that what may not be touched in a simulation is guarded in time.
 */
import './tripwires.ts';

export { arbitraries, drawPlan, type PlanShape, type Topology } from './arbitraries.ts';
export { checkers } from './checkers/checkers.ts';
export {
  checkLinearizability,
  type LinearizabilityOptions,
  type LinearizabilityResult,
  type LinearizabilityWitness,
} from './checkers/linearizability.ts';
export {
  type CasRegisterInput,
  type KvInput,
  type Model,
  models,
  type RegisterInput,
} from './checkers/models.ts';
export type { Operation } from './checkers/operation.ts';
export { checkOwnership, type OwnershipResult, type RunInterval } from './checkers/ownership.ts';
export { checkDeterminism, type DeterminismReport, type EventText } from './determinism.ts';
export type { SimDisk } from './models/disk.ts';
export type { SimNetwork } from './models/network.ts';
export { parseReplay, type Replay, type ReplayOutcome, recordReplay, runReplay } from './replay.ts';
export { type ShrinkOptions, type ShrinkResult, shrink } from './shrink.ts';
export { installTripwires, TripwireError, withTripwires } from './tripwires.ts';
export type { ClientCall, ClientRules, Workload } from './world/clients.ts';
export type { DecisionLog, LabelledStream, ReplayFit } from './world/decisions.ts';
export type { SimEvent } from './world/event-queue.ts';
export {
  calmPlan,
  type Fault,
  type FaultKind,
  type FaultPlan,
  faultCount,
  faultKinds,
} from './world/fault-plan.ts';
export type { Address, Reply, Request, SimHost } from './world/host.ts';
export type { Run, Scenario, Timing } from './world/scenario.ts';
export {
  type RunConfiguration,
  type SimulateOptions,
  type SimulationResult,
  simulate,
} from './world/simulate.ts';
export type { Checker, Finding, Violation } from './world/violation.ts';
export { World, type WorldOptions } from './world/world.ts';
