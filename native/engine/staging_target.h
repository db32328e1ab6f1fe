// How many bytes a sender keeps on the way: what the path holds, and enough to keep both ends busy.
// More would only wait in socket buffers, and staging that has left the cache by the time it is
// sent crosses memory twice more. The peer's credit stays the upper bound.
#pragma once
#include <algorithm>
#include <cstdint>

namespace dwcp {

class StagingTarget {
 public:
  explicit StagingTarget(uint64_t chunk_bytes)
      : busy_bytes_(std::max(kBusyBytes, kBusyChunks * chunk_bytes)), bytes_(busy_bytes_) {}

  void SetChunkBytes(uint64_t chunk_bytes) {
    busy_bytes_ = std::max(kBusyBytes, kBusyChunks * chunk_bytes);
  }

  uint64_t bytes() const { return bytes_; }
  // `acked_bytes` counts from the start of the link; `rtt_us` is the kernel's least, which leaves
  // out what waits in the peer's sockets.
  void Measure(uint64_t now_us, uint64_t acked_bytes, uint64_t rtt_us) {
    if (now_us <= last_us_) return;
    const double rate = static_cast<double>(acked_bytes - last_acked_bytes_) /
                        static_cast<double>(now_us - last_us_);
    last_us_ = now_us;
    last_acked_bytes_ = acked_bytes;
    // Acknowledgements come in bursts and a pause is not a slower path: falls slowly.
    peak_rate_ = std::max(rate, peak_rate_ * kPeakKept);
    rtt_us_ = std::max(static_cast<double>(rtt_us), rtt_us_ * kPeakKept);
    // Twice what is on the path, so that a target that was too small at least doubles per round
    // trip.
    bytes_ = busy_bytes_ + static_cast<uint64_t>(2 * peak_rate_ * rtt_us_);
  }

 private:
  static constexpr uint64_t kBusyBytes = 6 << 20;
  static constexpr uint64_t kBusyChunks = 4;
  static constexpr double kPeakKept = 0.98;

  uint64_t busy_bytes_;
  uint64_t bytes_;
  uint64_t last_us_ = 0;
  uint64_t last_acked_bytes_ = 0;
  double peak_rate_ = 0;  // bytes per microsecond
  double rtt_us_ = 0;
};

}  // namespace dwcp
