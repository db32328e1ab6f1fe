// What a link does to packets, and its text form `key=value`, the same for arguments and commands.
#pragma once

#include <cstdint>
#include <string>

namespace dwcp::lab {

struct Shape {
  /** Bytes of IP packets count, headers included. 0: no limit. */
  uint64_t rate_bits_per_sec = 0;
  /** There and back; a packet waits half of it in each direction. */
  double round_trip_ms = 0;
  /** Up to this much on top, even over the range; half of it in each direction. */
  double jitter_ms = 0;
  /** Share of the packets of one direction, over time. */
  double loss_percent = 0;
  /** Packets that the bad state lasts on average; 1: each packet is lost on its own account. */
  double burst_packets = 1;
  /** Share of packets lost while in the bad state. */
  double bad_loss_percent = 100;
  /** Waiting for the wire in one direction; what comes on top is dropped. */
  uint64_t queue_bytes = 1 << 20;
  /** Whether jitter lets packets overtake. */
  bool reorder = false;
  /** Everything sent is lost. */
  bool cut = false;
};

/** Empty when `text` was taken over into `shape`, else what is wrong with it. */
std::string SetKey(const std::string& text, Shape* shape);

/** Of keys that are each fine, but not together. */
std::string Contradiction(const Shape& shape);

}  // namespace dwcp::lab
