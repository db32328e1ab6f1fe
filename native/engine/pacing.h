// A token bucket that may go into debt: a chunk is never cut, and the average is exact all the
// same.
#pragma once
#include <algorithm>
#include <cstdint>

namespace dwcp {

class PacingBucket {
 public:
  void SetRate(uint64_t bytes_per_sec, uint64_t now_us) {
    bytes_per_sec_ = bytes_per_sec;
    tokens_ = 0;
    last_us_ = now_us;
  }
  // 0 when a chunk may go now, else microseconds to wait.
  uint64_t WaitUs(uint64_t now_us) {
    if (bytes_per_sec_ == 0) return 0;
    const double rate = static_cast<double>(bytes_per_sec_) / 1e6;
    const double burst = rate * 20000 + 65536;
    tokens_ = std::min(burst, tokens_ + static_cast<double>(now_us - last_us_) * rate);
    last_us_ = now_us;
    return tokens_ >= 0 ? 0 : static_cast<uint64_t>(-tokens_ / rate) + 1;
  }
  void Take(uint64_t bytes) {
    if (bytes_per_sec_ != 0) tokens_ -= static_cast<double>(bytes);
  }

 private:
  uint64_t bytes_per_sec_ = 0;
  uint64_t last_us_ = 0;
  double tokens_ = 0;
};

}  // namespace dwcp
