// What the kernel knows of the way to the peer, summed over some of a link's streams.
#pragma once
#include <cstdint>

namespace dwcp {

struct PathFacts {
  uint32_t streams = 0;  // that were asked
  uint64_t rtt_us = 0;   // the smallest of their smoothed round trips
  uint64_t rtt_min_us = 0;
  uint64_t rtt_var_us = 0;
  // Since each of them began: segments, and microseconds with something to send; of these, how long
  // the peer's window or our own buffer was the limit, not the way.
  uint64_t segments_sent = 0, segments_resent = 0;
  uint64_t busy_us = 0, held_us = 0;
};

}  // namespace dwcp
