// One direction of a link: packets of one host's device reach the other's, late, in part, and no
// faster than the rate.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "chance.h"
#include "counters.h"
#include "shape.h"

namespace dwcp::lab {

constexpr size_t kMtu = 1500;

class Wire {
 public:
  /** Device descriptors that do not block; they stay the caller's. */
  Wire(int from, int to, const Shape& shape, uint64_t seed);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  /** Carries packets until `Stop`. */
  void Run();
  void Stop();
  /** Takes effect at once; what has left the queue arrives as it would have. */
  void Reshape(const Shape& shape);

  const Counters& counters() const { return counters_; }

 private:
  /** In the queue, then under way. */
  struct Packet {
    int64_t at_ns;  // its arrival here, later when it is due over there
    uint64_t number;
    uint32_t slot;
    uint32_t bytes;
  };
  struct DueLater {
    bool operator()(const Packet& a, const Packet& b) const {
      return a.at_ns != b.at_ns ? a.at_ns > b.at_ns : a.number > b.number;
    }
  };

  void TakeShape();
  /** Returns how many packets came. */
  int Read(int64_t now_ns);
  /** Moves what the wire has taken by now from the queue to the packets under way. */
  void Transmit(int64_t now_ns);
  /** Returns how many packets were due. */
  int Deliver(int64_t now_ns);
  void Nap();
  /** Until a packet comes or is due. */
  void Sleep();

  int64_t WireTimeNs(uint32_t bytes) const;
  /** How many full packets fit into a pause. */
  double Steps(int64_t pause_ns) const;
  int64_t LeavesAtNs(const Packet& packet) const;
  void Wake();

  const int from_;
  const int to_;
  const int wake_;
  uint8_t* const slots_;
  std::vector<uint32_t> free_slots_;

  std::vector<Packet> queue_;  // a ring
  size_t queue_first_ = 0;
  size_t queue_length_ = 0;
  std::vector<Packet> under_way_;  // a heap, the first due in front

  Shape shape_;
  LossProcess loss_;
  Chance jitter_;
  int64_t wire_free_ns_ = 0;
  int64_t last_due_ns_ = 0;
  uint64_t next_number_ = 0;
  bool lost_last_ = false;

  Counters counters_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> has_new_shape_{false};
  std::mutex new_shape_lock_;
  Shape new_shape_;
};

}  // namespace dwcp::lab
