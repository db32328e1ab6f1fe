// What a link's streams and chunks are tuned to, and how far the last change has come: each stream
// is effective once a chunk that was named after the change was acknowledged on it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>

namespace dwcp {

struct Tuning {
  std::string congestion;  // as asked; empty leaves each socket as it was
  uint32_t chunk_bytes = 0;
  uint32_t unread_timeout_ms = 15000;
  // What a socket may hold and not have sent yet: a chunk that waits there is late for every
  // change. 0: as the kernel likes.
  uint32_t unsent_bytes = 0;
};

// What a stream remembers of the last change.
struct StreamTuning {
  uint32_t number = 0;
  uint64_t effective_us = 0;  // after the change
};

class TuningProgress {
 public:
  uint32_t number() const { return number_; }

  void Changed(uint64_t now_us) {
    number_++;
    changed_us_ = now_us;
    // A link that was idle before does not stall because it begins.
    if (now_us - landed_us_ > kIdleUs) landed_us_ = 0;
    stall_us_ = 0;
  }
  bool IsNews(uint32_t chunk_number, const StreamTuning& stream) const {
    return chunk_number == number_ && stream.number != number_;
  }
  void Acknowledged(uint64_t now_us, StreamTuning* stream) const {
    stream->number = number_;
    stream->effective_us = now_us - changed_us_;
  }
  void Landed(uint64_t now_us) {
    if (landed_us_ != 0) stall_us_ = std::max(stall_us_, now_us - landed_us_);
    landed_us_ = now_us;
  }
  // The longest time between two chunks that landed, since the change, the one around it included.
  uint64_t stall_us() const { return stall_us_; }

 private:
  static constexpr uint64_t kIdleUs = 1000000;

  uint32_t number_ = 0;
  uint64_t changed_us_ = 0;
  uint64_t landed_us_ = 0;
  uint64_t stall_us_ = 0;
};

}  // namespace dwcp
