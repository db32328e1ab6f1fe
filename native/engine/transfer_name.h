// What chunks of one transfer are named by, together with their sequence.
#pragma once
#include <cstdint>

namespace dwcp {

struct TransferName {
  uint64_t id;
  uint32_t epoch;
};

inline bool operator==(const TransferName& a, const TransferName& b) {
  return a.id == b.id && a.epoch == b.epoch;
}

}  // namespace dwcp
