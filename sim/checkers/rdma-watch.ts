/** What the checkers of the `rdma` scenario see of a world: cards, and both machines. */
import type { RdmaSource } from '../../src/protocols/rdma/source.ts';
import type { SourceEffect, SourceInput } from '../../src/protocols/rdma/types.ts';
import type { VersionedMemory } from '../rdma/memory.ts';
import type { RdmaMove } from '../rdma/move.ts';
import type { CardObserver, QueuePair } from '../rdma/queue-pair.ts';
import type { RdmaRegion } from '../rdma/region.ts';
import { RdmaCredits } from './rdma-credits.ts';
import { RdmaLandings } from './rdma-landings.ts';
import { RdmaPaths } from './rdma-paths.ts';
import { RdmaRegions } from './rdma-regions.ts';
import { RdmaWrites } from './rdma-writes.ts';

export class RdmaWatch implements CardObserver {
  readonly landings: RdmaLandings = new RdmaLandings();
  readonly writes: RdmaWrites = new RdmaWrites();
  readonly paths: RdmaPaths = new RdmaPaths();
  readonly credits: RdmaCredits = new RdmaCredits();
  readonly regions: RdmaRegions = new RdmaRegions();

  // ---- cards --------------------------------------------------------------------------------------

  left(region: RdmaRegion): void {
    this.regions.left(region);
  }

  placed(region: RdmaRegion, page: number, version: number, seq: number): void {
    this.writes.placed(region, page, version);
    this.paths.placed(region.session, page, seq);
  }

  frees(region: RdmaRegion, pairs: readonly QueuePair[]): void {
    this.regions.frees(region, pairs);
  }

  // ---- the source ---------------------------------------------------------------------------------

  begins(session: number, slots: number, move: RdmaMove): void {
    this.landings.begins(session, move);
    this.paths.begins(session);
    this.credits.begins(session, slots);
  }

  ends(session: number): void {
    this.landings.ends(session);
    this.credits.ends(session);
    this.paths.ends(session);
  }

  sends(session: number, pages: readonly number[]): void {
    this.landings.sends(session, pages);
  }

  source(
    session: number,
    input: SourceInput,
    effects: readonly SourceEffect[],
    core: RdmaSource,
  ): void {
    this.paths.heard(session, input);
    for (const effect of effects) {
      this.landings.did(session, effect);
      this.paths.did(session, effect);
    }
    this.credits.stepped(session, input, effects, core.freeSlots);
  }

  // ---- the destination ----------------------------------------------------------------------------

  opens(session: number, memory: VersionedMemory): void {
    this.writes.opens(session, memory);
  }

  rung(session: number, seq: number): void {
    this.landings.rung(session, seq);
  }

  landed(session: number, seq: number): void {
    this.landings.landed(session, seq);
  }

  revoked(session: number): void {
    this.writes.revoked(session);
  }

  resumes(move: RdmaMove): void {
    this.landings.resumes(move);
  }
}
