#include "crypto/opener.h"

namespace dwcp {

Opener::Opener(const uint8_t* secret, size_t key_bytes) : chain_(secret, key_bytes) {
  keys_[0] = chain_.Next();
  keys_[1] = chain_.Next();
  newest_ = 1;
}

bool Opener::Open(const uint8_t* nonce, const SealPart& associated, const SealPart* parts,
                  size_t count, const uint8_t* tag) {
  const Nonce sealed = Nonce::Read(nonce);
  if (sealed.lane >= kLanes || sealed.counter == 0) return false;
  std::unique_lock<std::mutex> held;
  Context* context = Take(&held);
  if (!Prepare(context, sealed.generation)) return false;
  if (!context->gcm->Open(nonce, associated, parts, count, tag)) return false;
  Opened(sealed.generation);
  return true;
}

Opener::Context* Opener::Take(std::unique_lock<std::mutex>* held) {
  for (Context& context : contexts_) {
    *held = std::unique_lock<std::mutex>(context.mutex, std::try_to_lock);
    if (held->owns_lock()) return &context;
  }
  *held = std::unique_lock<std::mutex>(contexts_[0].mutex);
  return &contexts_[0];
}

bool Opener::Prepare(Context* context, uint32_t generation) {
  std::lock_guard<std::mutex> lock(keys_mutex_);
  if (!IsKept(generation)) return false;
  if (context->generation == generation) return true;
  if (context->gcm == nullptr) context->gcm = std::make_unique<GcmContext>();
  context->gcm->SetKey(keys_[generation % kKept], false);
  context->generation = generation;
  return true;
}

// Only an authentic frame moves the keys on: a stranger's number never does.
void Opener::Opened(uint32_t generation) {
  std::lock_guard<std::mutex> lock(keys_mutex_);
  if (generation != newest_) return;
  newest_++;
  keys_[newest_ % kKept] = chain_.Next();
}

bool Opener::Mark(const uint8_t* nonce) {
  const Nonce sealed = Nonce::Read(nonce);
  const size_t slot = sealed.generation % kKept;
  if (window_generations_[slot] != sealed.generation) {
    if (window_generations_[slot] > sealed.generation) return false;
    window_generations_[slot] = sealed.generation;
    for (auto& window : windows_[slot]) window.reset();
  }
  std::unique_ptr<ReplayWindow>& window = windows_[slot][sealed.lane];
  if (window == nullptr) window = std::make_unique<ReplayWindow>();
  return window->Mark(sealed.counter);
}

}  // namespace dwcp
