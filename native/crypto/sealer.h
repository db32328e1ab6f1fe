// Seals the frames of one direction of one session. Any thread may call: a thread takes a free
// lane, draws the lane's next counter and gives the lane back, so no two encryptions share a nonce
// whatever the threads do.
//
// A chunk is sealed once, when it is built: to send it again means the identical bytes. It is
// sealed anew, under a new nonce, only when it may no longer be recognised: after the link got new
// keys, or when its nonce has become so old that the receiver's replay window is about to forget
// it.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "crypto/key_chain.h"
#include "crypto/nonce.h"
#include "crypto/replay_window.h"

namespace dwcp {

struct SealLimits {
  // 2^36 blocks: an attacker's advantage stays below 2^-57, the margin that TLS 1.3 keeps.
  uint64_t bytes_per_key = uint64_t{1} << 40;
  uint64_t frames_per_lane_and_key = uint64_t{1} << 32;
};

class Sealer {
 public:
  Sealer(const uint8_t* secret, size_t key_bytes, SealLimits limits = {});

  // Seals `parts` in place; `associated` is the frame's header as it will be sent.
  void SealChunk(const SealPart& associated, const SealPart* parts, size_t count, uint8_t* nonce,
                 uint8_t* tag);
  void SealSmall(const SealPart& associated, const SealPart& part, uint8_t* nonce, uint8_t* tag);
  // Takes back what this sealer sealed: the plain bytes, to be sealed anew.
  bool Unseal(const uint8_t* nonce, const SealPart& associated, const SealPart* parts, size_t count,
              const uint8_t* tag);
  // Half of the replay window has passed since, or the key is not the current one.
  bool IsStale(const uint8_t* nonce);

 private:
  struct Lane {
    std::mutex mutex;
    std::unique_ptr<GcmContext> context;
    size_t generation = 0;
    std::atomic<uint64_t> counter{0};
    uint64_t frames = 0;  // under this generation's key
  };

  void Seal(uint32_t first_lane, uint32_t lanes, const SealPart& associated, const SealPart* parts,
            size_t count, uint8_t* nonce, uint8_t* tag);
  // Locks a free lane, or waits for the first.
  std::unique_lock<std::mutex> Take(uint32_t first_lane, uint32_t lanes, uint32_t* taken);
  // The lane's context under the current key, which is the next one if this much is too much for
  // it.
  GcmContext& ContextFor(Lane* lane, uint64_t bytes);

  SealLimits limits_;
  std::mutex keys_mutex_;
  KeyChain chain_;
  std::vector<SealKey> keys_;  // by generation: one for each `bytes_per_key`
  uint64_t bytes_ = 0;         // under the current key
  std::array<Lane, kLanes> lanes_;
};

}  // namespace dwcp
