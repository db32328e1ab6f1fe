// Which counters of a lane were seen. What lies behind the window counts as seen.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

namespace dwcp {

constexpr uint64_t kReplayWindow = 65536;

class ReplayWindow {
 public:
  // True the first time only.
  bool Mark(uint64_t counter) {
    if (counter > highest_) {
      // Its bits were those of counters that fall out of the window now.
      const uint64_t steps = std::min(counter - highest_, kReplayWindow);
      for (uint64_t i = 0; i < steps; i++) Clear(counter - i);
      highest_ = counter;
    } else if (highest_ - counter >= kReplayWindow) {
      return false;
    }
    uint64_t& word = words_[counter % kReplayWindow / 64];
    const uint64_t bit = uint64_t{1} << counter % 64;
    if ((word & bit) != 0) return false;
    word |= bit;
    return true;
  }

 private:
  void Clear(uint64_t counter) {
    words_[counter % kReplayWindow / 64] &= ~(uint64_t{1} << counter % 64);
  }

  uint64_t highest_ = 0;
  std::array<uint64_t, kReplayWindow / 64> words_{};
};

}  // namespace dwcp
