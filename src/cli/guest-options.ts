/** A guest as an operator describes it over the admin service, checked before anything is started. */
import type { GuestHandle } from '../node.ts';
import { DwcpError } from '../util/errors.ts';
import type { Library } from './library.ts';

const OPTIONS_BYTES_MAX = 64 * 1024;

export function makeGuest(
  library: Library,
  kind: string,
  name: string,
  optionsJson: string,
): GuestHandle {
  const options = parseOptions(optionsJson);
  if (kind === 'memory') return library.memoryGuest({ ...options, name });
  if (kind === 'qemu') return library.qemuGuest({ ...options, name });
  throw new DwcpError('ERR_DWCP_USAGE', `no guest of kind "${kind}"`, {
    hint: 'Use memory or qemu.',
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
