/** The simulator is loaded only when asked for, and before any scenario is: its tripwires come first. */
export type Tools = typeof import('../../../sim/tools.ts');

/** `from`: another compiled `sim/tools.js` than ours, such as that of a copy with a planted bug. */
export async function loadTools(
  from: URL = new URL('../../../sim/tools.js', import.meta.url),
): Promise<Tools> {
  return (await import(from.href)) as Tools;
}
