/** CRC32C (Castagnoli), eight bytes a step: in TypeScript, because simulations run it too. */

const POLYNOMIAL = 0x82f63b78;

/** Eight tables of 256: what a byte does to the sum from `n` places before its end. */
const TABLES: Int32Array = (() => {
  const tables = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let value = byte;
    for (let bit = 0; bit < 8; bit += 1) {
      value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
    }
    tables[byte] = value;
  }
  for (let at = 256; at < tables.length; at += 1) {
    const before = tables[at - 256] as number;
    tables[at] = (before >>> 8) ^ (tables[before & 255] as number);
  }
  return tables;
})();

/** Of `bytes[from..to)`. `seed` is the sum of what came before. */
export function crc32c(bytes: Uint8Array, from: number, to: number, seed: number = 0): number {
  const table = TABLES;
  let crc = ~seed;
  let at = from;
  for (const end = to - 7; at < end; at += 8) {
    const first = crc ^ (bytes[at] as number);
    crc =
      (table[1792 + (first & 255)] as number) ^
      (table[1536 + (((crc >>> 8) ^ (bytes[at + 1] as number)) & 255)] as number) ^
      (table[1280 + (((crc >>> 16) ^ (bytes[at + 2] as number)) & 255)] as number) ^
      (table[1024 + ((crc >>> 24) ^ (bytes[at + 3] as number))] as number) ^
      (table[768 + (bytes[at + 4] as number)] as number) ^
      (table[512 + (bytes[at + 5] as number)] as number) ^
      (table[256 + (bytes[at + 6] as number)] as number) ^
      (table[bytes[at + 7] as number] as number);
  }
  for (; at < to; at += 1) {
    crc = (crc >>> 8) ^ (table[(crc ^ (bytes[at] as number)) & 255] as number);
  }
  return ~crc >>> 0;
}
