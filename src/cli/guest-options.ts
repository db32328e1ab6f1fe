/** A guest as an operator describes it over the admin service, checked before anything is started. */
import { z } from 'zod';
import type { GuestHandle, QemuBinary } from '../node.ts';
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

const sharedDisks = z.array(z.string()).max(256).default([]);
const qemuOptions = z.union([
  z.strictObject({ args: z.array(z.string()).max(512), sharedDisks }),
  z.strictObject({ qmpPath: z.string().startsWith('/'), sharedDisks }),
]);

export interface GuestMakers {
  readonly library: Library;
  readonly qemu: QemuBinary;
}

export function makeGuest(
  { library, qemu }: GuestMakers,
  kind: string,
  name: string,
  optionsJson: string,
): GuestHandle {
  const options = parseOptions(optionsJson);
  switch (kind) {
    case 'memory': {
      const known = 'memoryBytes, dirtyBytesPerSec, workingSetBytes and zeroShare';
      return library.memoryGuest({ ...checked(memoryOptions, options, known), name });
    }
    case 'qemu': {
      const known = 'either args or qmpPath (an absolute path), and sharedDisks';
      return library.qemuGuest({ qemu, ...checked(qemuOptions, options, known), name });
    }
    default:
      throw new DwcpError('ERR_DWCP_USAGE', `no guest of kind "${kind}"`, {
        hint: 'Use memory or qemu.',
      });
  }
}

function checked<T>(schema: z.ZodType<T>, options: object, known: string): T {
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new DwcpError(
    'ERR_DWCP_USAGE',
    `guest option ${issue?.path.join('.')}: ${issue?.message}`,
    { hint: `Known are ${known}.` },
  );
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
