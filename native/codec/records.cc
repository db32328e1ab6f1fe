#include "codec/records.h"

#include <cstring>

#include "memory/region.h"

namespace dwcp {

void WriteDeltaHeader(uint8_t* out, PageDigest base, PageDigest result, uint16_t bytes) {
  std::memcpy(out, &base, sizeof base);
  std::memcpy(out + 8, &result, sizeof result);
  std::memcpy(out + 16, &bytes, sizeof bytes);
}

DeltaRecord ReadDelta(const uint8_t* record) {
  DeltaRecord delta;
  std::memcpy(&delta.base, record, sizeof delta.base);
  std::memcpy(&delta.result, record + 8, sizeof delta.result);
  std::memcpy(&delta.bytes, record + 16, sizeof delta.bytes);
  delta.runs = record + kDeltaHeaderBytes;
  return delta;
}

void WriteCopy(uint8_t* out, const CopyRecord& copy) {
  std::memcpy(out, &copy.page, sizeof copy.page);
  std::memcpy(out + 4, &copy.digest, sizeof copy.digest);
}

CopyRecord ReadCopy(const uint8_t* record) {
  CopyRecord copy;
  std::memcpy(&copy.page, record, sizeof copy.page);
  std::memcpy(&copy.digest, record + 4, sizeof copy.digest);
  return copy;
}

bool CheckRecords(const MapEntry* map, uint32_t entries, const uint8_t* payload, size_t bytes) {
  size_t left = bytes;
  const auto skip = [&](uint64_t count) {
    if (left < count) return false;
    left -= count;
    payload += count;
    return true;
  };
  for (uint32_t i = 0; i < entries; i++) {
    const uint64_t count = map[i].count();
    if (map[i].kind() == EntryKind::kWhole && !skip(count * kPageBytes)) return false;
    if (map[i].kind() == EntryKind::kKnown && !skip(count * kKnownBytes)) return false;
    if (map[i].kind() == EntryKind::kCopy && !skip(count * kCopyBytes)) return false;
    if (map[i].kind() != EntryKind::kDelta) continue;
    for (uint64_t page = 0; page < count; page++) {
      if (left < kDeltaHeaderBytes) return false;
      const DeltaRecord delta = ReadDelta(payload);
      skip(kDeltaHeaderBytes);
      if (left < delta.bytes || !CheckDelta(delta.runs, delta.bytes)) return false;
      skip(delta.bytes);
    }
  }
  return left == 0;
}

}  // namespace dwcp
