// Seeded randomness of a link: the same seed and the same packets meet the same fate.
#pragma once

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
 * it lasts is `burst_packets`; how often it begins follows from the share that is to be lost.
 */
class LossProcess {
 public:
  explicit LossProcess(uint64_t seed) : chance_(seed) {}

  void Reshape(const Shape& shape) {
    const double loss = shape.loss_percent / 100;
    is_bursty_ = shape.burst_packets > 1 && loss > 0;
    loss_when_bad_ = is_bursty_ ? shape.bad_loss_percent / 100 : loss;
    if (!is_bursty_) return;
    const double bad_share = loss / loss_when_bad_;
    leave_bad_ = 1 / shape.burst_packets;
    enter_bad_ = leave_bad_ * bad_share / (1 - bad_share);
  }

  bool IsLost() {
    if (!is_bursty_) return loss_when_bad_ > 0 && chance_.Draw() < loss_when_bad_;
    is_bad_ = chance_.Draw() < (is_bad_ ? 1 - leave_bad_ : enter_bad_);
    return is_bad_ && chance_.Draw() < loss_when_bad_;
  }

 private:
  Chance chance_;
  bool is_bursty_ = false;
  bool is_bad_ = false;
  double loss_when_bad_ = 0;
  double enter_bad_ = 0;
  double leave_bad_ = 1;
};

}  // namespace dwcp::lab
