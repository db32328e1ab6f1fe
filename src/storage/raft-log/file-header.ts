/**
 * What every file of the log begins with: `magic, version, length, crc32c`, then who it belongs to and
 * what its kind adds. These 16 bytes stay the same in every version, so that a newer file is told from
 * a damaged one.
 */
import type { RaftLogIdentity } from '../../ports/raft-log.ts';
import { DwcpError } from '../../util/errors.ts';
import { ByteReader } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';
import { crc32c } from './crc32c.ts';
import { corrupt } from './log-error.ts';

export const FORMAT_VERSION = 1;
const PREFIX_BYTES = 16;
const GROUP_BYTES_MAX = 256;

/** Distinct, and far from what a zeroed or a text file begins with. */
export const MAGIC_SEGMENT = 0x53574344;
export const MAGIC_STATE = 0x56574344;
export const MAGIC_SNAPSHOT = 0x50574344;

export function writeFileHeader(
  magic: number,
  identity: RaftLogIdentity,
  writeBody: (to: ByteWriter) => void,
): Uint8Array {
  const to = new ByteWriter(512);
  to.u32(magic);
  to.u32(FORMAT_VERSION);
  to.u32(0);
  to.u32(0);
  to.text(identity.group);
  to.u64(identity.replica);
  writeBody(to);
  to.putU32(8, to.length - PREFIX_BYTES);
  to.putU32(12, headerCrc(to.written));
  return to.written;
}

/**
 * The body behind a good header, positioned after the identity, and where it ends. Throws a coded
 * error: damaged, of a newer version, of another replica.
 */
export function readFileHeader(
  bytes: Uint8Array,
  at: number,
  magic: number,
  identity: RaftLogIdentity,
  file: string,
): { readonly body: ByteReader; readonly end: number; readonly crc: number } {
  const prefix = new ByteReader(bytes, at);
  const isOurs = prefix.u32() === magic;
  const version = prefix.u32();
  const length = prefix.u32();
  const crc = prefix.u32();
  const isWhole = isOurs && !prefix.failed && length <= prefix.left;
  const end = at + PREFIX_BYTES + length;
  if (!isWhole || headerCrc(bytes.subarray(at, end)) !== crc) {
    throw corrupt(file, at, 'its header is damaged');
  }
  if (version !== FORMAT_VERSION) {
    const message = `${file}, offset ${at + 4}: format ${version}, this program reads ${FORMAT_VERSION}`;
    const hint = 'A newer dwcp wrote this log: run that one, or give this one another directory.';
    throw new DwcpError('ERR_DWCP_VERSION', message, { hint });
  }
  const body = new ByteReader(bytes, at + PREFIX_BYTES, end);
  const group = body.text(GROUP_BYTES_MAX);
  const replica = body.u64();
  if (body.failed) throw corrupt(file, at, 'its header is damaged');
  if (group !== identity.group || replica !== identity.replica) {
    const message = `${file}, offset ${at + PREFIX_BYTES}: the log of replica ${replica} of group "${group}", not of replica ${identity.replica} of "${identity.group}"`;
    const hint = 'Check the data directory: a log must never be used by another replica or group.';
    throw new DwcpError('ERR_DWCP_STORAGE', message, { hint });
  }
  return { body, end, crc };
}

/** Of all but the sum itself. */
function headerCrc(header: Uint8Array): number {
  return crc32c(header, PREFIX_BYTES, header.length, crc32c(header, 0, 12));
}
