// What a store holds, as its peer is told: the upper halves of the fingerprints, sorted, as the
// gaps between them, in pieces that each stand alone. Two bytes per page at half a million pages.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/frame.h"

namespace dwcp {

// 4 MiB in all is what two million pages take, 8 GiB of them.
constexpr size_t kSummaryPagesMax = 1u << 21;

struct ContentSummary {
  // At least one, which may be empty; none longer than kContentPieceBytesMax.
  std::vector<std::vector<uint8_t>> pieces;
};

inline uint32_t ShortFingerprint(uint64_t fingerprint) {
  return static_cast<uint32_t>(fingerprint >> 32);
}

// Sorts what it is given; what does not fit is left out.
ContentSummary Summarise(std::vector<uint32_t>* fingerprints);
// Appends what a piece says. False when it is none; bytes from the wire.
bool ReadPiece(const uint8_t* bytes, size_t size, std::vector<uint32_t>* fingerprints);

}  // namespace dwcp
