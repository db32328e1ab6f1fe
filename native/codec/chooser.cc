#include "codec/chooser.h"

#include <algorithm>
#include <cmath>

namespace dwcp {
namespace {

// Usual figures of one core on memory images (bench encoding); only their proportions count once
// anything was measured.
struct Usual {
  double rate, ratio;
};
constexpr std::array<Usual, kCodecLadder.size()> kUsual = {{{3000e6, 1.0},
                                                            {900e6, 2.05},
                                                            {550e6, 2.65},
                                                            {320e6, 2.8},
                                                            {150e6, 2.9},
                                                            {85e6, 2.97},
                                                            {40e6, 3.0}}};
constexpr double kWeight = 0.2;
// Of a change that one step shows, what is put down to the contents and the machine, and not to it.
constexpr double kCommon = 0.9;
// Where nothing was gained before, a gain says nothing of what the others gain.
constexpr double kGainMin = 0.02;
constexpr double kGainMost = 0.99;
// Every so many chunks a neighbour of the best gets one.
constexpr uint32_t kProbeEvery = 24;
// Part of the workers' time that encoding may plan with: they share the machine with guests.
constexpr double kPlanned = 0.85;
// A wire that was starved may carry more than it showed.
constexpr double kStarvedGrowth = 1.02;

double Mixed(double old, double now) { return old == 0 ? now : old + kWeight * (now - old); }

}  // namespace

CodecChooser::Measured CodecChooser::Estimate(size_t step) const {
  if (measured_[step].rate > 0) return measured_[step];
  // By the nearest step that was measured: this data, this machine.
  for (size_t distance = 1; distance < measured_.size(); distance++) {
    for (const size_t other : {step - distance, step + distance}) {
      if (other >= measured_.size() || measured_[other].rate == 0) continue;
      const double ratio =
          1 + (kUsual[step].ratio - 1) *
                  (other == 0 ? 1 : (measured_[other].ratio - 1) / (kUsual[other].ratio - 1));
      return {measured_[other].rate * kUsual[step].rate / kUsual[other].rate, std::max(1.0, ratio)};
    }
  }
  return {kUsual[step].rate, kUsual[step].ratio};
}

size_t CodecChooser::BestStep() const {
  size_t best = 0;
  double most = 0;
  for (size_t step = 0; step < measured_.size(); step++) {
    const Measured figures = Estimate(step);
    const double through = std::min(workers_ * kPlanned * figures.rate, wire_rate_ * figures.ratio);
    // A dearer one must gain something.
    if (through <= most * 1.01) continue;
    most = through;
    best = step;
  }
  return best;
}

CodecChoice CodecChooser::Best() const {
  if (policy_.kind == CodecPolicy::Kind::kRaw) return kCodecLadder[0];
  if (policy_.kind == CodecPolicy::Kind::kFixed) return policy_.fixed;
  return kCodecLadder[BestStep()];
}

CodecChoice CodecChooser::Next() {
  if (policy_.kind != CodecPolicy::Kind::kAdaptive) return Best();
  const size_t best = BestStep();
  if (++turns_ % kProbeEvery != 0) return kCodecLadder[best];
  const bool up = turns_ / kProbeEvery % 2 == 0;
  // Never a probe of none: how fast a copy is says nothing, and its bytes cost most.
  if (up) return kCodecLadder[std::min(best + 1, kCodecLadder.size() - 1)];
  return kCodecLadder[best > 1 ? best - 1 : best];
}

void CodecChooser::Encoded(CodecChoice choice, uint64_t raw_bytes, uint64_t encoded_bytes,
                           uint64_t took_us) {
  if (raw_bytes == 0 || encoded_bytes == 0) return;
  const auto found = std::find(kCodecLadder.begin(), kCodecLadder.end(), choice);
  if (found == kCodecLadder.end()) return;
  const auto step = static_cast<size_t>(found - kCodecLadder.begin());
  const auto raw = static_cast<double>(raw_bytes);
  const Measured now{raw * 1e6 / static_cast<double>(std::max<uint64_t>(1, took_us)),
                     raw / static_cast<double>(encoded_bytes)};
  Measured& figures = measured_[step];
  if (figures.rate > 0 && step > 0) CarryOver(step, now);
  figures.rate = Mixed(figures.rate, now.rate);
  // By bytes, or chunks of next to nothing would outweigh all others.
  figures.ratio = 1 / Mixed(figures.ratio == 0 ? 0 : 1 / figures.ratio, 1 / now.ratio);
}

void CodecChooser::CarryOver(size_t step, const Measured& now) {
  const Measured before = measured_[step];
  const double gain_before = 1 - 1 / before.ratio;
  const auto changed = [](double factor) { return std::pow(1 + kWeight * (factor - 1), kCommon); };
  const double rate = changed(std::clamp(now.rate / before.rate, 0.2, 5.0));
  const double gain = gain_before < kGainMin ? 1 : changed((1 - 1 / now.ratio) / gain_before);
  for (size_t other = 1; other < measured_.size(); other++) {
    Measured& figures = measured_[other];
    if (other == step || figures.rate == 0) continue;
    figures.rate *= rate;
    figures.ratio = 1 / (1 - std::min(kGainMost, (1 - 1 / figures.ratio) * gain));
    if (gain_before < kGainMin && now.ratio > 1 / (1 - kGainMin)) figures = {};
  }
}

void CodecChooser::Acknowledged(uint64_t bytes, uint64_t took_us, bool starved) {
  if (took_us == 0) return;
  const double rate = static_cast<double>(bytes) * 1e6 / static_cast<double>(took_us);
  if (starved) {
    // Nothing was asked of it: that says nothing. A little more each time, up to what it would
    // take to make no codec the best, so that the next busy interval corrects it.
    if (bytes > 0) wire_rate_ = std::max(rate, std::min(wire_rate_ * kStarvedGrowth, 20e9));
    return;
  }
  wire_rate_ = wire_measured_ ? Mixed(wire_rate_, rate) : rate;
  wire_measured_ = true;
}

}  // namespace dwcp
