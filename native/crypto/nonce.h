// Nonce = worker (u32) | counter (u64), little endian. The worker is generation of the key (16
// bits) | lane (16 bits), and a lane belongs to one encryption at a time, so the pair never
// repeats.
#pragma once
#include <cstdint>
#include <cstring>

#include "crypto/gcm.h"

namespace dwcp {

// Chunks and small frames count apart, so that a flood of acknowledgements never makes a chunk that
// waits on a slow stream look old.
constexpr uint32_t kChunkLanes = 16;
constexpr uint32_t kSmallLanes = 4;
constexpr uint32_t kLanes = kChunkLanes + kSmallLanes;

struct Nonce {
  uint16_t generation = 0;
  uint16_t lane = 0;
  uint64_t counter = 0;

  static Nonce Read(const uint8_t* in) {
    Nonce nonce;
    std::memcpy(&nonce.lane, in, 2);
    std::memcpy(&nonce.generation, in + 2, 2);
    std::memcpy(&nonce.counter, in + 4, 8);
    return nonce;
  }
  void Write(uint8_t* out) const {
    std::memcpy(out, &lane, 2);
    std::memcpy(out + 2, &generation, 2);
    std::memcpy(out + 4, &counter, 8);
  }
};

}  // namespace dwcp
