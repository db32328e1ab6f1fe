/**
 * A guest reduced to what ownership is about: which copies of it exist, which of them run, and
 * which outlive the agents that drive them. One guest, copies on two hosts.
 */
export type HostName = 'source' | 'destination';
export type CopyState = 'absent' | 'running' | 'stopped' | 'killed';

export class GuestModel {
  readonly copies: Record<HostName, CopyState> = { source: 'running', destination: 'absent' };
  readonly violations: string[] = [];
  /** An operator gave it to a third host, where it was started anew: neither copy may run again. */
  runsElsewhere = false;
  /** Its copy ran at the destination at some time. */
  ranAtDestination = false;

  /** The host lost its power, or its operator froze what ran there: nothing does any more. */
  powerOff(host: HostName): void {
    if (this.copies[host] === 'running') this.copies[host] = 'killed';
  }

  set(host: HostName, state: CopyState): void {
    if (this.copies[host] === 'killed') {
      if (state === 'running') this.violations.push(`a killed copy ran on ${host}`);
      return;
    }
    this.copies[host] = state;
    if (host === 'destination' && state === 'running') this.ranAtDestination = true;
    if (this.copies.source === 'running' && this.copies.destination === 'running') {
      this.violations.push('the guest runs on both hosts');
    }
    if (this.runsElsewhere && state === 'running') {
      this.violations.push(`the guest runs on both hosts, on ${host} and on a third`);
    }
    const isReleased = host === 'source' && state === 'killed';
    if (isReleased && !this.ranAtDestination && !this.runsElsewhere) {
      this.violations.push('the source was killed and the guest never ran elsewhere');
    }
  }

  get runningCount(): number {
    return Object.values(this.copies).filter((state) => state === 'running').length;
  }
}
