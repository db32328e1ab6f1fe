// What one direction of a link did. Written by its thread, read by any.
#pragma once

#include <atomic>
#include <cstdint>

namespace dwcp::lab {

class Counter {
 public:
  uint64_t Get() const { return value_.load(std::memory_order_relaxed); }
  void Set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  void Add(uint64_t more) { Set(Get() + more); }
  void AtLeast(uint64_t value) {
    if (value > Get()) Set(value);
  }

 private:
  std::atomic<uint64_t> value_{0};
};

/** Every packet that came in was delivered, is on its way, or stands in one of the drops. */
struct Counters {
  Counter packets;
  Counter bytes;
  Counter delivered_packets;
  Counter delivered_bytes;
  /** By chance, on the wire, and in how many runs of neighbours. */
  Counter lost_packets;
  Counter lost_runs;
  Counter queue_drops;
  Counter cut_drops;
  /** More packets under way than the program holds: the link was too weak for its shape. */
  Counter overruns;
  /** The receiving host's kernel did not take it. */
  Counter refused;
  Counter largest_packet_bytes;
  Counter queue_bytes;
  Counter queue_bytes_max;
  /** How long after its time a packet was delivered. */
  Counter late_us_sum;
  Counter late_us_max;
};

}  // namespace dwcp::lab
