/**
 * What the source knows of the waiting QEMU: how much it has not been fed yet and how fast it loads.
 * Everything that is not fed when the guest stops is downtime, so the guest is not stopped before that
 * fits the budget.
 */
export interface LoadReport {
  /** Rounds that had ended when this was measured. */
  readonly round: number;
  readonly unfedPages: number;
  /** 0 while nothing was fed. */
  readonly loadBytesPerSec: number;
}

const PAGE_BYTES = 4096;
/** Below what any QEMU was seen to do: holds until it was measured. */
const UNMEASURED_BYTES_PER_SEC = 100e6;

export class Load {
  /** Pages of each round that no report covers yet. */
  #sent: number[] = [];
  #firstRound = 0;
  #report: LoadReport = { round: 0, unfedPages: 0, loadBytesPerSec: 0 };

  /** With so many pages sent in it, whose bytes the waiting QEMU needs. */
  roundEnded(sentPages: number): void {
    this.#sent.push(sentPages);
  }

  reported(report: LoadReport): void {
    if (report.round < this.#report.round) return;
    this.#report = report;
    // A round that had ended is in what the report counts.
    const covered = Math.min(this.#sent.length, Math.max(0, report.round - this.#firstRound));
    this.#sent = this.#sent.slice(covered);
    this.#firstRound += covered;
  }

  /** Every round that ended is in the last report. */
  isKnown(): boolean {
    return this.#sent.length === 0;
  }

  /** At most; a page that was sent in two rounds counts twice. */
  unfedPages(): number {
    return this.#report.unfedPages + this.#sent.reduce((sum, pages) => sum + pages, 0);
  }

  /** How long the waiting QEMU would need for what it has not. */
  loadMs(): number {
    const { loadBytesPerSec } = this.#report;
    const rate = loadBytesPerSec > 0 ? loadBytesPerSec : UNMEASURED_BYTES_PER_SEC;
    return ((this.unfedPages() * PAGE_BYTES) / rate) * 1000;
  }

  /** May the guest be stopped? */
  fits(maxDowntimeMs: number): boolean {
    return this.loadMs() <= maxDowntimeMs;
  }
}
