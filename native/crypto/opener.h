// Opens the frames of one direction of one session, and knows which nonces were here before, on
// whichever stream. The two are asked apart: opening is done on many threads at once, marking in
// the order in which frames are acted on.
//
// A chunk that is sent again on another stream is the identical frame, so for a chunk "seen before"
// is not yet wrong: it may only not be news (see Stream::OnChunk). For every other frame it is.
#pragma once
#include <memory>
#include <mutex>

#include "crypto/key_chain.h"
#include "crypto/nonce.h"
#include "crypto/replay_window.h"

namespace dwcp {

class Opener {
 public:
  Opener(const uint8_t* secret, size_t key_bytes);

  // In place. False when the tag does not hold: the parts are garbage then, and nothing changed.
  // From any thread.
  bool Open(const uint8_t* nonce, const SealPart& associated, const SealPart* parts, size_t count,
            const uint8_t* tag);
  // Of a frame that was opened: true the first time only. From one thread at a time.
  bool Mark(const uint8_t* nonce);

 private:
  // The key before the current one still opens what was under way, the next one what comes after.
  static constexpr uint32_t kKept = 3;
  static constexpr uint32_t kContexts = 16;
  struct Context {
    std::mutex mutex;
    std::unique_ptr<GcmContext> gcm;
    int64_t generation = -1;
  };

  bool IsKept(uint32_t generation) const {
    return generation <= newest_ && generation + kKept > newest_;
  }
  Context* Take(std::unique_lock<std::mutex>* held);
  bool Prepare(Context* context, uint32_t generation);
  void Opened(uint32_t generation);

  std::mutex keys_mutex_;
  KeyChain chain_;
  std::array<SealKey, kKept> keys_;
  uint32_t newest_ = 0;  // the generation after the highest that a frame came in
  std::array<Context, kContexts> contexts_;

  std::array<std::unique_ptr<ReplayWindow>, kLanes> windows_[kKept];
  std::array<int64_t, kKept> window_generations_{-1, -1, -1};
};

}  // namespace dwcp
