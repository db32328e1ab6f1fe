#include "cache/segment_index.h"

#include <algorithm>
#include <cstring>

#include "memory/page_kernels.h"
#include "memory/region.h"

namespace dwcp {
namespace {

constexpr char kMagic[8] = {'D', 'W', 'C', 'P', 'P', 'A', 'G', 'E'};
constexpr size_t kHeaderCrcOffset = kSegmentHeaderBytes - 4;
constexpr size_t kEntryCrcOffset = 40;

// Header: magic 8, version 4, page size 4, tenant 16, id 8, zeros, CRC32C of all before it.
void WriteHeaderText(uint8_t* out, const ContentKey& key, uint64_t id) {
  const uint32_t page_bytes = kPageBytes;
  std::memset(out, 0, kSegmentHeaderBytes);
  std::memcpy(out, kMagic, sizeof kMagic);
  std::memcpy(out + 8, &kSegmentVersion, 4);
  std::memcpy(out + 12, &page_bytes, 4);
  std::memcpy(out + 16, key.tenant().data(), kTenantBytes);
  std::memcpy(out + 32, &id, 8);
}

uint32_t EntryCrc(const uint8_t* entry, uint32_t slot) {
  return Crc32c(Crc32c(0, entry, kEntryCrcOffset), &slot, sizeof slot);
}

}  // namespace

void WriteSegmentHeader(uint8_t* out, const ContentKey& key, uint64_t id) {
  WriteHeaderText(out, key, id);
  const uint32_t crc = Crc32c(0, out, kHeaderCrcOffset);
  std::memcpy(out + kHeaderCrcOffset, &crc, sizeof crc);
}

void WriteSegmentEntry(uint8_t* out, const SegmentEntry& entry, uint32_t slot) {
  std::memset(out, 0, kSegmentEntryBytes);
  std::memcpy(out, entry.hash.data(), entry.hash.size());
  std::memcpy(out + 32, &entry.fingerprint, 8);
  const uint32_t crc = EntryCrc(out, slot);
  std::memcpy(out + kEntryCrcOffset, &crc, sizeof crc);
}

SegmentState ReadSegmentIndex(const uint8_t* bytes, size_t size, const ContentKey& key, uint64_t id,
                              std::vector<SegmentSlot>* slots) {
  slots->clear();
  if (size < kSegmentHeaderBytes) return SegmentState::kDamaged;
  uint32_t crc;
  std::memcpy(&crc, bytes + kHeaderCrcOffset, sizeof crc);
  if (std::memcmp(bytes, kMagic, sizeof kMagic) != 0 || crc != Crc32c(0, bytes, kHeaderCrcOffset)) {
    return SegmentState::kDamaged;
  }
  uint8_t wanted[kSegmentHeaderBytes];
  WriteHeaderText(wanted, key, id);
  if (std::memcmp(bytes + 8, wanted + 8, 8) != 0) return SegmentState::kOtherVersion;
  if (std::memcmp(bytes + 16, wanted + 16, kTenantBytes) != 0) return SegmentState::kOtherTenant;
  if (std::memcmp(bytes + 32, wanted + 32, kHeaderCrcOffset - 32) != 0) {
    return SegmentState::kDamaged;
  }
  const size_t whole = (size - kSegmentHeaderBytes) / kSegmentEntryBytes;
  const auto count = static_cast<uint32_t>(std::min<size_t>(whole, kSegmentPagesMax));
  for (uint32_t slot = 0; slot < count; slot++) {
    const uint8_t* at = bytes + kSegmentHeaderBytes + size_t{slot} * kSegmentEntryBytes;
    std::memcpy(&crc, at + kEntryCrcOffset, sizeof crc);
    if (crc != EntryCrc(at, slot)) continue;
    SegmentSlot read;
    std::memcpy(read.entry.hash.data(), at, read.entry.hash.size());
    std::memcpy(&read.entry.fingerprint, at + 32, 8);
    read.slot = slot;
    slots->push_back(read);
  }
  return SegmentState::kReadable;
}

}  // namespace dwcp
