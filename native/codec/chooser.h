// Which codec for the next chunk: the one that gets most page bytes per second across, given what
// encoding costs, what it gains and what the wire lets through. Pure: told everything, no clock.
#pragma once
#include <array>
#include <cstdint>

#include "codec/policy.h"

namespace dwcp {

constexpr std::array<CodecChoice, 7> kCodecLadder = {{{Codec::kNone, 0},
                                                      {Codec::kLz4, 1},
                                                      {Codec::kZstd, 1},
                                                      {Codec::kZstd, 3},
                                                      {Codec::kZstd, 6},
                                                      {Codec::kZstd, 9},
                                                      {Codec::kZstd, 12}}};

class CodecChooser {
 public:
  explicit CodecChooser(uint32_t workers) : workers_(workers) {}

  void SetPolicy(const CodecPolicy& policy) { policy_ = policy; }
  const CodecPolicy& policy() const { return policy_; }
  // For the next chunk; now and then a neighbour of the best, so that its figures stay true.
  CodecChoice Next();
  // The best as things are, by measured figures and, where there are none, scaled usual ones.
  CodecChoice Best() const;
  // A chunk was encoded with `choice` in `took_us` of one worker.
  void Encoded(CodecChoice choice, uint64_t raw_bytes, uint64_t encoded_bytes, uint64_t took_us);
  // What the peer acknowledged in an interval. `starved`: the wire had room that nobody filled, so
  // it carries at least that much; otherwise it carries just that.
  void Acknowledged(uint64_t bytes, uint64_t took_us, bool starved);

  double wire_bytes_per_sec() const { return wire_rate_; }

 private:
  struct Measured {
    double rate = 0;   // page bytes per second of one worker
    double ratio = 0;  // page bytes per encoded byte
  };
  Measured Estimate(size_t step) const;
  size_t BestStep() const;
  // Contents change from chunk to chunk: what one step meets now, the others would meet as well.
  void CarryOver(size_t step, const Measured& now);

  CodecPolicy policy_;
  uint32_t workers_;
  // Until it is measured: who asks for codecs has reason to think it slow, and a starved one grows.
  double wire_rate_ = 30e6;
  bool wire_measured_ = false;
  uint32_t turns_ = 0;
  std::array<Measured, kCodecLadder.size()> measured_{};
};

}  // namespace dwcp
