/**
 * One record file: `DWCP1 <crc32 hex> <length> <key>\n` and the value. The checksum covers key and
 * value, so that a renamed, torn or flipped file is told from a good one.
 */
import { DwcpError } from '../util/errors.ts';

const MAGIC = 'DWCP1';
const HEADER_BYTES_MAX = 512;

const CRC_TABLE: readonly number[] = Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

export function crc32(bytes: Uint8Array, seed: number = 0): number {
  let crc = ~seed;
  for (const byte of bytes) crc = (crc >>> 8) ^ (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0);
  return ~crc >>> 0;
}

export function encodeRecord(key: string, value: Uint8Array): Uint8Array {
  const crc = crc32(value, crc32(new TextEncoder().encode(key)));
  const header = new TextEncoder().encode(
    `${MAGIC} ${crc.toString(16).padStart(8, '0')} ${value.length} ${key}\n`,
  );
  const file = new Uint8Array(header.length + value.length);
  file.set(header);
  file.set(value, header.length);
  return file;
}

export function decodeRecord(key: string, file: Uint8Array): Uint8Array {
  const end = file.subarray(0, HEADER_BYTES_MAX).indexOf(0x0a);
  const header = new TextDecoder().decode(file.subarray(0, Math.max(end, 0))).split(' ');
  const value = file.subarray(end + 1);
  const crc = crc32(value, crc32(new TextEncoder().encode(key)));
  const isGood =
    end > 0 &&
    header[0] === MAGIC &&
    header[1] === crc.toString(16).padStart(8, '0') &&
    header[2] === String(value.length) &&
    header[3] === key;
  if (!isGood) {
    throw new DwcpError('ERR_DWCP_CORRUPT', `the record "${key}" is damaged`, {
      hint: 'It may say that a guest is fenced, so nothing starts over it. Check the disk; move the file away only when you know where the guest runs.',
    });
  }
  return value;
}
