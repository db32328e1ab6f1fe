/** A guest as an operator describes it over the admin service, checked before anything is started. */
import { z } from 'zod';
import type { GuestHandle } from '../node.ts';
import { DwcpError } from '../util/errors.ts';
import type { Library } from './library.ts';

const OPTIONS_BYTES_MAX = 64 * 1024;

const memoryOptions = z.strictObject({
  memoryBytes: z
    .number()
    .int()
    .min(2 ** 20)
    .multipleOf(4096),
  dirtyBytesPerSec: z.number().int().nonnegative().default(0),
  workingSetBytes: z.number().int().nonnegative().default(0),
  zeroShare: z.number().min(0).max(1).default(0.25),
});

export function makeGuest(
  library: Library,
  kind: string,
  name: string,
  optionsJson: string,
): GuestHandle {
  if (kind === 'qemu') throw qemuUnsupported();
  if (kind !== 'memory') {
    throw new DwcpError('ERR_DWCP_USAGE', `no guest of kind "${kind}"`, { hint: 'Use memory.' });
  }
  const checked = memoryOptions.safeParse(parseOptions(optionsJson));
  if (checked.success) return library.memoryGuest({ ...checked.data, name });
  const issue = checked.error.issues[0];
  throw new DwcpError(
    'ERR_DWCP_USAGE',
    `guest option ${issue?.path.join('.')}: ${issue?.message}`,
    {
      hint: 'Known are memoryBytes, dirtyBytesPerSec, workingSetBytes and zeroShare.',
    },
  );
}

/** QEMU's parts exist (QMP, launch, preflight, return path) but are not yet a Hypervisor. */
export function qemuUnsupported(): DwcpError {
  return new DwcpError('ERR_DWCP_UNSUPPORTED', 'this version cannot move QEMU guests yet', {
    hint: 'Use --guest memory, the embedded default.',
  });
}

function parseOptions(json: string): object {
  if (json.length > OPTIONS_BYTES_MAX) {
    throw new DwcpError('ERR_DWCP_LIMIT', `guest options of ${json.length} characters`, {
      hint: `At most ${OPTIONS_BYTES_MAX}.`,
    });
  }
  let options: unknown;
  try {
    options = JSON.parse(json);
  } catch (cause) {
    throw new DwcpError('ERR_DWCP_USAGE', 'guest options are not JSON', { cause });
  }
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new DwcpError('ERR_DWCP_USAGE', 'guest options must be a JSON object');
  }
  return options;
}
