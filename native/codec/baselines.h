// What the sender remembers of the pages it sent, so that the next version can go as a delta.
// Bounded: pages that change again and again push out those that were sent once.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/page_kernels.h"

namespace dwcp {

// A delta is made only against a version that the peer acknowledged, and only when no other one is
// on its way: so a page has at most one unacknowledged version that anything may be based on.
class Baselines {
 public:
  Baselines(uint64_t page_count, uint64_t bytes_max);
  ~Baselines();
  Baselines(const Baselines&) = delete;
  Baselines& operator=(const Baselines&) = delete;

  // `page` is `bytes` from `seq` on. Writes the delta to `out` (kDeltaBytesMax) and the digest of
  // its base and returns its length, or -1 when the page must go whole. Any thread.
  int Advance(uint64_t page, uint64_t seq, uint64_t acked_seq, const uint8_t* bytes,
              PageDigest digest, uint8_t* out, PageDigest* base);
  // Another page that the peer has, and that is these bytes, compared to the last one; or the count
  // of pages. After Advance. Any thread.
  uint64_t Twin(uint64_t page, uint64_t acked_seq, const uint8_t* bytes, PageDigest digest);
  // The peer does not have what we think, or the page went as something else.
  void Forget(uint64_t page);
  uint64_t page_count() const { return slot_of_.size(); }
  uint64_t bytes() const { return used_.load(std::memory_order_relaxed) * 4096; }

 private:
  static constexpr size_t kStripes = 16;
  // In `slot_of_`: never sent; sent, and not remembered.
  static constexpr uint32_t kNever = 0, kSent = ~0u;
  static constexpr uint32_t kProbesMax = 16;

  struct Slot {
    uint64_t seq = 0;
    PageDigest digest = 0;
    uint32_t page = 0;
    bool used = false;
    bool changed = false;  // since the hand of the clock came by
  };
  struct Stripe {
    std::mutex mutex;
    uint32_t first = 0, filled = 0, hand = 0;
    std::vector<uint32_t> free;  // of pages that were forgotten
  };

  Stripe& StripeOf(uint64_t page) { return stripes_[page / 16 % kStripes]; }
  uint8_t* Bytes(uint32_t slot) { return arena_ + size_t{slot} * 4096; }
  // A slot for a page that has none, or the count of slots.
  uint32_t Claim(Stripe& stripe, bool sent_before);

  uint32_t slots_per_stripe_;
  std::array<Stripe, kStripes> stripes_;
  std::vector<uint32_t> slot_of_;  // by page: slot + 1
  std::vector<Slot> slots_;
  // By digest: who had it first, as far as it is known.
  std::unique_ptr<std::atomic<uint32_t>[]> twins_;
  int twin_shift_ = 63;
  uint8_t* arena_ = nullptr;  // touched as it fills
  size_t arena_bytes_ = 0;
  std::atomic<uint64_t> used_{0};
};

}  // namespace dwcp
