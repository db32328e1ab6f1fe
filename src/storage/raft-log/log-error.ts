import { DwcpError } from '../../util/errors.ts';

/** Bytes that were synced are not what was written: nothing may be built on this log. */
export function corrupt(file: string, offset: number, what: string): DwcpError {
  return new DwcpError('ERR_DWCP_CORRUPT', `${file}, offset ${offset}: ${what}`, {
    hint: 'Nothing was overwritten. Check the disk; then remove this replica from the group and add it anew with an empty data directory.',
  });
}

/** Says where it was tried: the disk knows neither what for nor at which offset. */
export function atPlace(file: string, offset: number, error: DwcpError): DwcpError {
  return new DwcpError(error.code, `${file}, offset ${offset}: ${error.message}`, {
    cause: error,
    ...(error.errno === null ? {} : { errno: error.errno }),
    ...(error.hint === null ? {} : { hint: error.hint }),
  });
}
