#include "cache/content_summary.h"

#include <algorithm>
#include <cstring>

namespace dwcp {
namespace {

constexpr size_t kGapBytesMax = 5;

}  // namespace

ContentSummary Summarise(std::vector<uint32_t>* fingerprints) {
  std::sort(fingerprints->begin(), fingerprints->end());
  fingerprints->erase(std::unique(fingerprints->begin(), fingerprints->end()), fingerprints->end());
  ContentSummary summary;
  summary.pieces.emplace_back();
  uint32_t last = 0;
  for (const uint32_t fingerprint : *fingerprints) {
    std::vector<uint8_t>* piece = &summary.pieces.back();
    if (piece->size() + kGapBytesMax > kContentPieceBytesMax) {
      if (summary.pieces.size() == kContentPiecesMax) break;
      summary.pieces.emplace_back();
      piece = &summary.pieces.back();
    }
    if (piece->empty()) {
      piece->resize(sizeof fingerprint);
      std::memcpy(piece->data(), &fingerprint, sizeof fingerprint);
    } else {
      uint32_t gap = fingerprint - last;
      for (; gap >= 0x80; gap >>= 7) piece->push_back(static_cast<uint8_t>(gap | 0x80));
      piece->push_back(static_cast<uint8_t>(gap));
    }
    last = fingerprint;
  }
  return summary;
}

bool ReadPiece(const uint8_t* bytes, size_t size, std::vector<uint32_t>* fingerprints) {
  if (size == 0) return true;
  if (size < sizeof(uint32_t)) return false;
  uint32_t first;
  std::memcpy(&first, bytes, sizeof first);
  fingerprints->push_back(first);
  uint64_t value = first;
  uint64_t gap = 0;
  int shift = 0;
  for (size_t i = sizeof first; i < size; i++) {
    gap |= uint64_t{bytes[i] & 0x7fu} << shift;
    if ((bytes[i] & 0x80) != 0) {
      shift += 7;
      if (shift > 28) return false;
      continue;
    }
    value += gap;
    if (gap == 0 || value > UINT32_MAX) return false;
    fingerprints->push_back(static_cast<uint32_t>(value));
    gap = 0;
    shift = 0;
  }
  return shift == 0;
}

}  // namespace dwcp
