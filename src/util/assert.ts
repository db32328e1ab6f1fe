/**
 * Assertions that stay on in production. A failure is a bug of ours, never bad input:
 * bad input gets a {@link DwcpError} with a code.
 */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Throws {@link AssertionError} unless `condition` holds. `message` says what was expected. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** For the `default` of an exhaustive switch: a compile error when a case is missing. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}

/** Counters cross the native boundary as doubles; past 2^53 they would silently lose units. */
export function assertSafeInteger(value: number, name: string): void {
  assert(Number.isSafeInteger(value) && value >= 0, `${name} must be a safe integer, got ${value}`);
}
