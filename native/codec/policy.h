// How a sender encodes its pages: what was asked for, and one concrete choice.
#pragma once
#include <cstdint>

#include "engine/frame.h"

namespace dwcp {

struct CodecChoice {
  Codec codec = Codec::kNone;
  int level = 0;
};

inline bool operator==(const CodecChoice& a, const CodecChoice& b) {
  return a.codec == b.codec && a.level == b.level;
}

struct CodecPolicy {
  enum class Kind : uint8_t { kRaw, kFixed, kAdaptive };
  Kind kind = Kind::kRaw;
  CodecChoice fixed;            // kFixed only
  uint64_t baseline_bytes = 0;  // kAdaptive: what deltas may keep per transfer
};

}  // namespace dwcp
