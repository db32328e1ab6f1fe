/** Of one VM every epoch has one owner, whichever host tells of it, and no host sees epochs go back. */
import type { VmOwnership } from '../../src/protocols/ownership/types.ts';
import type { Finding } from '../world/violation.ts';

export class Epochs {
  readonly #owners = new Map<string, string>();
  readonly #newest = new Map<string, number>();
  #finding: Finding | null = null;

  look(): Finding | null {
    return this.#finding;
  }

  /** As one life of one host learns of it, in its order. */
  changed(life: string, vm: string, now: VmOwnership | null): void {
    if (now === null) return;
    const { owner, epoch } = now;
    const key = `${vm}@${epoch}`;
    const known = this.#owners.get(key);
    if (known === undefined) this.#owners.set(key, owner);
    else if (known !== owner) {
      this.#finding ??= { message: `epoch ${epoch} of ${vm} belongs to ${known} and to ${owner}` };
    }
    const seen = `${life} ${vm}`;
    const newest = this.#newest.get(seen) ?? 0;
    if (epoch < newest) {
      this.#finding ??= { message: `${life} saw ${vm} go from epoch ${newest} to ${epoch}` };
    }
    this.#newest.set(seen, Math.max(newest, epoch));
  }
}
