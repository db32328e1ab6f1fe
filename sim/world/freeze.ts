/**
 * Messages go by reference, which is fast, and wrong as soon as a receiver writes to one: in a real network
 * it would have got a copy. Frozen, such a write throws. Maps, sets and bytes cannot be frozen.
 */
export function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return;
  if (ArrayBuffer.isView(value) || value instanceof Map || value instanceof Set) return;
  Object.freeze(value);
  for (const item of Object.values(value)) deepFreeze(item);
}
