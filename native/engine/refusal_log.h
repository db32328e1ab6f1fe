// Pages that a receiver could not take because their base or content is missing: numbered, told
// until the sender heard of them, bounded. Acknowledgements carry the newest number, so a sender
// never takes a batch for landed before it has heard of every refusal in it.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>

#include "engine/frame.h"

namespace dwcp {

constexpr size_t kRefusalsMax = 65536;
// What a sender has on its way by name or as a delta: a quarter, so that it never meets the bound,
// and that the 16 bits of the newest number in an acknowledgement tell old from new.
constexpr size_t kNamedPagesMax = kRefusalsMax / 4;

class RefusalLog {
 public:
  bool HasRoom(size_t pages) const { return pages_.size() + pages <= kRefusalsMax; }
  void Add(uint32_t page) { pages_.push_back(page); }
  uint64_t total() const { return heard_ + pages_.size(); }
  bool untold() const { return told_ < total(); }
  // The next ones that were not told: the number of the first, and how many were written.
  size_t Tell(uint64_t* first, uint32_t* out) {
    const size_t from = static_cast<size_t>(told_ - heard_);
    const size_t count = std::min(pages_.size() - from, size_t{kRefusedBytesMax} / sizeof *out);
    *first = told_ + 1;
    for (size_t i = 0; i < count; i++) out[i] = pages_[from + i];
    told_ += count;
    quiet_ticks_ = 0;
    return count;
  }
  // False when nobody told so many.
  bool Heard(uint64_t number) {
    if (number > told_) return false;
    for (; heard_ < number; heard_++) pages_.pop_front();
    return true;
  }
  // Once per tick: what was told long ago and not heard is told again.
  void Tick() {
    if (pages_.empty() || untold() || ++quiet_ticks_ < kRepeatTicks) return;
    told_ = heard_;
    quiet_ticks_ = 0;
  }

 private:
  static constexpr uint32_t kRepeatTicks = 25;

  uint64_t heard_ = 0;
  uint64_t told_ = 0;
  uint32_t quiet_ticks_ = 0;
  std::deque<uint32_t> pages_;  // after heard_
};

}  // namespace dwcp
