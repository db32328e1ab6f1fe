/** What `--set KEY=VALUE` chose of what a benchmark lets one choose. */
import { DwcpError } from '../src/util/errors.ts';
import type { BenchRunOptions } from './document.ts';

/** The defaults with what was chosen over them; throws on a key that is not among them. */
export function chosen<Key extends string>(
  defaults: Readonly<Record<Key, string>>,
  settings: BenchRunOptions['settings'],
): Readonly<Record<Key, string>> {
  for (const key of settings?.keys() ?? []) {
    if (key in defaults) continue;
    const known = Object.entries(defaults).map(([each, value]) => `${each}=${value}`);
    throw new DwcpError('ERR_DWCP_USAGE', `this benchmark has no setting "${key}"`, {
      hint: `It has: ${known.join(' ')}.`,
    });
  }
  return { ...defaults, ...Object.fromEntries(settings ?? []) };
}
