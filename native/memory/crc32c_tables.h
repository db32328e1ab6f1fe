// Tables of CRC32C (reflected polynomial 0x82F63B78): slice-by-8, and appending zeros by GF(2)
// algebra.
#pragma once
#include <cstddef>
#include <cstdint>

namespace dwcp {

struct Crc32cTables {
  uint32_t slice[8][256];

  Crc32cTables() {
    for (uint32_t byte = 0; byte < 256; byte++) {
      uint32_t crc = byte;
      for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
      slice[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
      for (int k = 1; k < 8; k++) {
        slice[k][byte] = (slice[k - 1][byte] >> 8) ^ slice[0][slice[k - 1][byte] & 255];
      }
    }
  }
};

// A CRC is linear: what `zero_bytes` zeros do to it is a 32x32 bit matrix, kept as four byte
// tables.
class Crc32cShift {
 public:
  // `zero_bytes` = 2^log2_bytes.
  explicit Crc32cShift(int log2_bytes) {
    uint32_t matrix[32];
    matrix[0] = 0x82F63B78u;  // one zero bit
    for (int bit = 1; bit < 32; bit++) matrix[bit] = uint32_t{1} << (bit - 1);
    for (int i = 0; i < log2_bytes + 3; i++) {
      uint32_t square[32];
      for (int bit = 0; bit < 32; bit++) square[bit] = Times(matrix, matrix[bit]);
      for (int bit = 0; bit < 32; bit++) matrix[bit] = square[bit];
    }
    for (int k = 0; k < 4; k++) {
      for (uint32_t byte = 0; byte < 256; byte++) table_[k][byte] = Times(matrix, byte << (8 * k));
    }
  }

  uint32_t operator()(uint32_t crc) const {
    return table_[0][crc & 255] ^ table_[1][(crc >> 8) & 255] ^ table_[2][(crc >> 16) & 255] ^
           table_[3][crc >> 24];
  }

 private:
  static uint32_t Times(const uint32_t* matrix, uint32_t vector) {
    uint32_t sum = 0;
    for (int bit = 0; vector != 0; bit++, vector >>= 1) {
      if ((vector & 1) != 0) sum ^= matrix[bit];
    }
    return sum;
  }

  uint32_t table_[4][256];
};

}  // namespace dwcp
