// The file that says what the pages of a segment are: a header, then one entry per page, in order.
// What a crash or a bad disk left of it is read as far as its checks hold.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cache/content_key.h"

namespace dwcp {

constexpr uint32_t kSegmentVersion = 1;
constexpr size_t kSegmentHeaderBytes = 64;
constexpr size_t kSegmentEntryBytes = 48;
// One segment is 1 GiB of pages at most.
constexpr uint32_t kSegmentPagesMax = 1u << 18;

struct SegmentEntry {
  ContentHash hash;
  uint64_t fingerprint;
};

enum class SegmentState { kReadable, kDamaged, kOtherVersion, kOtherTenant };

void WriteSegmentHeader(uint8_t* out, const ContentKey& key, uint64_t id);
// `slot` is the entry's place: one that was moved does not check.
void WriteSegmentEntry(uint8_t* out, const SegmentEntry& entry, uint32_t slot);

struct SegmentSlot {
  SegmentEntry entry;
  uint32_t slot;
};
// Bytes from a disk. A header that holds and says another version or tenant is somebody else's.
SegmentState ReadSegmentIndex(const uint8_t* bytes, size_t size, const ContentKey& key, uint64_t id,
                              std::vector<SegmentSlot>* slots);

}  // namespace dwcp
