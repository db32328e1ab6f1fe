/** By a feature's name two hosts with a content cache know each other. */
import type { BulkTransport } from '../ports/transport.ts';

export const CONTENT_CACHE = 'content-cache';

export function contentFeatures(bulk: BulkTransport): readonly string[] {
  return bulk.contentCache() === null ? [] : [CONTENT_CACHE];
}
