// Seeded randomness of a link: the same seed and the same packets meet the same fate.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "shape.h"

namespace dwcp::lab {

/** SplitMix64: small, fast, and good enough to lose packets by. */
class Chance {
 public:
  explicit Chance(uint64_t seed) : state_(seed) {}

  /** Even in [0, 1). */
  double Draw() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return double((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_;
};

/**
 * Gilbert-Elliott: packets are lost in a bad state only, which begins and ends by chance. How long
 * it lasts is `burst_packets`; how often it begins follows from the share that is to be lost. It
 * goes on in the pauses of the traffic: a lone retransmission after a second does not meet the same
 * bad time again.
 */
class LossProcess {
 public:
  explicit LossProcess(uint64_t seed) : chance_(seed) {}

  void Reshape(const Shape& shape) {
    const double loss = shape.loss_percent / 100;
    is_bursty_ = shape.burst_packets > 1 && loss > 0;
    loss_when_bad_ = is_bursty_ ? shape.bad_loss_percent / 100 : loss;
    if (!is_bursty_) return;
    bad_share_ = loss / loss_when_bad_;
    // One step changes from bad to good by 1 / burst, and so from good to bad by what keeps the
    // share.
    memory_ = 1 - 1 / shape.burst_packets / (1 - bad_share_);
  }

  /** `steps` since the last packet, in full packets that the wire could have carried; at least 1.
   */
  bool IsLost(double steps) {
    if (!is_bursty_) return loss_when_bad_ > 0 && chance_.Draw() < loss_when_bad_;
    const double kept = steps <= 1 ? memory_ : std::pow(std::max(memory_, 0.0), steps);
    is_bad_ = chance_.Draw() < bad_share_ + kept * ((is_bad_ ? 1 : 0) - bad_share_);
    return is_bad_ && chance_.Draw() < loss_when_bad_;
  }

 private:
  Chance chance_;
  bool is_bursty_ = false;
  bool is_bad_ = false;
  double loss_when_bad_ = 0;
  double bad_share_ = 0;
  double memory_ = 0;
};

}  // namespace dwcp::lab
