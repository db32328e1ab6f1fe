/** Any data of an event as JSON can hold it, for traces that people and tools read. */
export function toPlain(value: unknown): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol') {
    return undefined;
  }
  if (Array.isArray(value)) return value.map(toPlain);
  if (value instanceof Uint8Array) return `hex:${Buffer.from(value).toString('hex')}`;
  if (value instanceof Map) return [...value].map(([key, item]) => [toPlain(key), toPlain(item)]);
  if (value instanceof Set) return [...value].map(toPlain);
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  const entries = Object.entries(value as Record<string, unknown>);
  return Object.fromEntries(entries.map(([key, item]) => [key, toPlain(item)]));
}
