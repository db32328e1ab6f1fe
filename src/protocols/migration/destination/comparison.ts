/** Comparing what landed with the digests of the source's frozen memory, block by block in order. */
import { PAGE_DIGEST_BYTES } from '../../../ports/memory.ts';
import { assert } from '../../../util/assert.ts';
import { DwcpError, type Outcome } from '../../../util/errors.ts';
import { DIGEST_BLOCK_PAGES } from '../types.ts';
import { fail } from './discard.ts';
import { comparisonOver } from './settlement.ts';
import type { DestinationState } from './state.ts';
import type { DigestBlock } from './types.ts';

const FIRST_DIFFERENT_MAX = 16;

export function takeBlock(state: DestinationState, block: DigestBlock): void {
  if (state.phase !== 'loaded' && state.phase !== 'committed') return;
  const pages = pagesOf(block);
  const fits =
    Number.isInteger(pages) &&
    pages > 0 &&
    pages <= DIGEST_BLOCK_PAGES &&
    block.firstPage === state.nextBlockPage &&
    block.firstPage + pages <= state.pageCount;
  if (!fits) {
    const what = `${state.options.from} sent a digest block out of order`;
    return digestFault(state, new DwcpError('ERR_DWCP_PROTOCOL', what));
  }
  state.nextBlockPage += pages;
  state.blocks.push(block);
  nextComparison(state);
}

function nextComparison(state: DestinationState): void {
  const block = state.blocks[0];
  if (state.isComparing || block === undefined) return;
  state.isComparing = true;
  state.emit({ type: 'digests', firstPage: block.firstPage, pageCount: pagesOf(block) });
}

export function compare(
  state: DestinationState,
  firstPage: number,
  outcome: Outcome<Uint8Array>,
): void {
  state.isComparing = false;
  const block = state.blocks.shift();
  if (block === undefined || block.firstPage !== firstPage) return;
  if (!outcome.ok) return digestFault(state, outcome.error);
  const pages = pagesOf(block);
  assert(outcome.value.length === block.digests.length, 'a digest for every page');
  for (let page = 0; page < pages; page += 1) {
    if (sameDigest(block.digests, outcome.value, page * PAGE_DIGEST_BYTES)) continue;
    state.differentPages += 1;
    if (state.firstDifferent.length < FIRST_DIFFERENT_MAX) {
      state.firstDifferent.push(firstPage + page);
    }
  }
  state.comparedPages += pages;
  state.send({
    type: 'verifyResult',
    comparedPages: state.comparedPages,
    differentPages: state.differentPages,
    firstDifferent: [...state.firstDifferent],
  });
  if (state.comparedPages === state.pageCount) return comparisonOver(state);
  nextComparison(state);
}

function digestFault(state: DestinationState, error: DwcpError): void {
  state.blocks = [];
  if (state.phase === 'loaded') return fail(state, error);
  state.send({ type: 'migrationFailed', error });
  comparisonOver(state);
}

function pagesOf(block: DigestBlock): number {
  return block.digests.length / PAGE_DIGEST_BYTES;
}

function sameDigest(left: Uint8Array, right: Uint8Array, offset: number): boolean {
  for (let index = offset; index < offset + PAGE_DIGEST_BYTES; index += 1) {
    if (left[index] !== right[index]) return false;
  }
  return true;
}
