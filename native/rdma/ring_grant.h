// What one side of a queue pair grants the other: a ring to write into, and how many receives stand
// ready for doorbells and credits. Plain bytes on the wire, without any verbs.
#pragma once
#include <cstdint>
#include <cstring>

namespace dwcp {

struct RingGrant {
  static constexpr uint32_t kMagic = 0x31525744;  // "DWR1"
  static constexpr uint32_t kRingBytesMin = 64 * 1024;
  static constexpr uint32_t kRingBytesMax = 256u << 20;
  static constexpr uint32_t kReceivesMin = 32;
  static constexpr uint32_t kReceivesMax = 1 << 16;

  uint32_t magic = kMagic;
  uint32_t ring_bytes = 0;
  uint64_t address = 0;
  uint32_t key = 0;
  uint32_t receives = 0;

  // The peer chose these numbers.
  bool IsSane() const {
    return magic == kMagic && ring_bytes >= kRingBytesMin && ring_bytes <= kRingBytesMax &&
           receives >= kReceivesMin && receives <= kReceivesMax && address + ring_bytes > address;
  }
};
static_assert(sizeof(RingGrant) == 24, "it travels as it lies in memory");

// Absolute, so that one which is lost in a newer one costs nothing.
struct RingCredit {
  static constexpr uint32_t kMagic = 0x43525744;  // "DWRC"
  uint32_t magic = kMagic;
  uint32_t zero = 0;
  uint64_t taken_bytes = 0;  // of the ring, ever
  uint64_t receives = 0;     // posted, ever
};
static_assert(sizeof(RingCredit) == 24, "it travels as it lies in memory");

}  // namespace dwcp
