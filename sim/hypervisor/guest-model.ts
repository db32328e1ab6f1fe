/**
 * A guest reduced to what ownership is about: which copies of it exist, which of them run, and
 * which outlive the agents that drive them. One guest, copies on two hosts.
 */
export type HostName = 'source' | 'destination';
export type CopyState = 'absent' | 'running' | 'stopped' | 'killed';

export class GuestModel {
  readonly copies: Record<HostName, CopyState> = { source: 'running', destination: 'absent' };
  readonly violations: string[] = [];

  set(host: HostName, state: CopyState): void {
    if (this.copies[host] === 'killed') {
      if (state === 'running') this.violations.push(`a killed copy ran on ${host}`);
      return;
    }
    this.copies[host] = state;
    if (this.copies.source === 'running' && this.copies.destination === 'running') {
      this.violations.push('the guest runs on both hosts');
    }
    if (this.copies.source === 'killed' && this.copies.destination !== 'running') {
      this.violations.push('the source was killed and the guest runs nowhere');
    }
  }

  get runningCount(): number {
    return Object.values(this.copies).filter((state) => state === 'running').length;
  }
}
