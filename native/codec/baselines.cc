#include "codec/baselines.h"

#include <errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <system_error>

#include "codec/delta.h"

namespace dwcp {

Baselines::Baselines(uint64_t page_count, uint64_t bytes_max)
    : slots_per_stripe_(static_cast<uint32_t>(std::min(page_count, bytes_max / 4096) / kStripes)),
      slot_of_(page_count, kNever),
      slots_(size_t{slots_per_stripe_} * kStripes) {
  for (size_t i = 0; i < kStripes; i++) {
    stripes_[i].first = static_cast<uint32_t>(i) * slots_per_stripe_;
  }
  while (twin_shift_ > 40 && (uint64_t{1} << (64 - twin_shift_)) < slots_.size()) twin_shift_--;
  twins_ = std::make_unique<std::atomic<uint32_t>[]>(size_t{1} << (64 - twin_shift_));
  arena_bytes_ = std::max<size_t>(1, slots_.size()) * 4096;
  void* arena = mmap(nullptr, arena_bytes_, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED) throw std::system_error(errno, std::generic_category());
  arena_ = static_cast<uint8_t*>(arena);
}

Baselines::~Baselines() { munmap(arena_, arena_bytes_); }

uint32_t Baselines::Claim(Stripe& stripe, bool sent_before) {
  const auto none = static_cast<uint32_t>(slots_.size());
  if (slots_per_stripe_ == 0) return none;
  if (stripe.filled < slots_per_stripe_) {
    used_.fetch_add(1, std::memory_order_relaxed);
    return stripe.first + stripe.filled++;
  }
  if (!stripe.free.empty()) {
    const uint32_t slot = stripe.free.back();
    stripe.free.pop_back();
    return slot;
  }
  if (!sent_before) return none;
  // The hand of a clock: what changed since it last came by is spared once.
  for (uint32_t i = 0; i < kProbesMax; i++) {
    const uint32_t slot = stripe.first + stripe.hand++ % slots_per_stripe_;
    if (slots_[slot].used && slots_[slot].changed) {
      slots_[slot].changed = false;
      continue;
    }
    if (slots_[slot].used) slot_of_[slots_[slot].page] = kSent;
    return slot;
  }
  return none;
}

int Baselines::Advance(uint64_t page, uint64_t seq, uint64_t acked_seq, const uint8_t* bytes,
                       PageDigest digest, uint8_t* out, PageDigest* base) {
  Stripe& stripe = StripeOf(page);
  std::lock_guard<std::mutex> lock(stripe.mutex);
  uint32_t& place = slot_of_[page];
  int length = -1;
  uint32_t slot;
  const bool known = place != kNever && place != kSent;
  if (known) {
    slot = place - 1;
    if (slots_[slot].seq >= seq) return -1;
    *base = slots_[slot].digest;
    if (slots_[slot].seq <= acked_seq) length = EncodeDelta(Bytes(slot), bytes, out);
    // The version that is acknowledged still is the one that is sent.
    if (length == 0) return 0;
  } else {
    slot = Claim(stripe, place == kSent);
    if (slot == slots_.size()) {
      place = kSent;
      return -1;
    }
  }
  slots_[slot] = {seq, digest, static_cast<uint32_t>(page), true, known};
  place = slot + 1;
  std::memcpy(Bytes(slot), bytes, 4096);
  return length;
}

uint64_t Baselines::Twin(uint64_t page, uint64_t acked_seq, const uint8_t* bytes,
                         PageDigest digest) {
  // Digests of pages that differ a little do so in a few bits.
  std::atomic<uint32_t>& twin = twins_[digest * 0x9e3779b97f4a7c15u >> twin_shift_];
  const uint64_t none = slot_of_.size();
  const uint64_t other = twin.load(std::memory_order_relaxed);
  if (other != page && other < none) {
    Stripe& stripe = StripeOf(other);
    std::lock_guard<std::mutex> lock(stripe.mutex);
    const uint32_t place = slot_of_[other];
    if (place != kNever && place != kSent) {
      const Slot& slot = slots_[place - 1];
      // One that is still on its way stays for those that follow.
      if (slot.digest == digest && std::memcmp(Bytes(place - 1), bytes, 4096) == 0) {
        return slot.seq <= acked_seq ? other : none;
      }
    }
  }
  twin.store(static_cast<uint32_t>(page), std::memory_order_relaxed);
  return none;
}

void Baselines::Forget(uint64_t page) {
  Stripe& stripe = StripeOf(page);
  std::lock_guard<std::mutex> lock(stripe.mutex);
  uint32_t& place = slot_of_[page];
  if (place != kNever && place != kSent) {
    slots_[place - 1].used = false;
    stripe.free.push_back(place - 1);
  }
  place = kSent;
}

}  // namespace dwcp
