#include "crypto/sealer.h"

#include <cstdio>
#include <cstdlib>

namespace dwcp {
namespace {

constexpr size_t kGenerationsMax = 65536;

}  // namespace

Sealer::Sealer(const uint8_t* secret, size_t key_bytes, SealLimits limits)
    : limits_(limits), chain_(secret, key_bytes) {
  keys_.push_back(chain_.Next());
}

void Sealer::SealChunk(const SealPart& associated, const SealPart* parts, size_t count,
                       uint8_t* nonce, uint8_t* tag) {
  Seal(0, kChunkLanes, associated, parts, count, nonce, tag);
}

void Sealer::SealSmall(const SealPart& associated, const SealPart& part, uint8_t* nonce,
                       uint8_t* tag) {
  Seal(kChunkLanes, kSmallLanes, associated, &part, 1, nonce, tag);
}

void Sealer::Seal(uint32_t first_lane, uint32_t lanes, const SealPart& associated,
                  const SealPart* parts, size_t count, uint8_t* nonce, uint8_t* tag) {
  uint64_t bytes = associated.size;
  for (size_t i = 0; i < count; i++) bytes += parts[i].size;
  uint32_t taken = 0;
  const std::unique_lock<std::mutex> held = Take(first_lane, lanes, &taken);
  Lane& lane = lanes_[taken];
  GcmContext& context = ContextFor(&lane, bytes);
  Nonce drawn;
  drawn.generation = static_cast<uint16_t>(lane.generation);
  drawn.lane = static_cast<uint16_t>(taken);
  drawn.counter = ++lane.counter;
  lane.frames++;
  drawn.Write(nonce);
  context.Seal(nonce, associated, parts, count, tag);
}

std::unique_lock<std::mutex> Sealer::Take(uint32_t first_lane, uint32_t lanes, uint32_t* taken) {
  for (uint32_t i = first_lane; i < first_lane + lanes; i++) {
    std::unique_lock<std::mutex> lock(lanes_[i].mutex, std::try_to_lock);
    if (!lock.owns_lock()) continue;
    *taken = i;
    return lock;
  }
  *taken = first_lane;
  return std::unique_lock<std::mutex>(lanes_[first_lane].mutex);
}

GcmContext& Sealer::ContextFor(Lane* lane, uint64_t bytes) {
  std::lock_guard<std::mutex> lock(keys_mutex_);
  const bool is_current = lane->generation + 1 == keys_.size();
  const bool lane_is_full = is_current && lane->frames >= limits_.frames_per_lane_and_key;
  if (bytes_ > 0 && (bytes_ + bytes > limits_.bytes_per_key || lane_is_full)) {
    if (keys_.size() == kGenerationsMax) {
      std::fputs("dwcp: a link used up all of its keys\n", stderr);
      std::abort();
    }
    keys_.push_back(chain_.Next());
    bytes_ = 0;
  }
  bytes_ += bytes;
  if (lane->context == nullptr || lane->generation + 1 != keys_.size()) {
    if (lane->context == nullptr) lane->context = std::make_unique<GcmContext>();
    lane->generation = keys_.size() - 1;
    lane->frames = 0;
    lane->context->SetKey(keys_.back(), true);
  }
  return *lane->context;
}

bool Sealer::Unseal(const uint8_t* nonce, const SealPart& associated, const SealPart* parts,
                    size_t count, const uint8_t* tag) {
  GcmContext context;
  {
    std::lock_guard<std::mutex> lock(keys_mutex_);
    const size_t generation = Nonce::Read(nonce).generation;
    if (generation >= keys_.size()) return false;
    context.SetKey(keys_[generation], false);
  }
  return context.Open(nonce, associated, parts, count, tag);
}

bool Sealer::IsStale(const uint8_t* nonce) {
  const Nonce sealed = Nonce::Read(nonce);
  {
    std::lock_guard<std::mutex> lock(keys_mutex_);
    if (sealed.generation + size_t{1} != keys_.size()) return true;
  }
  return lanes_[sealed.lane].counter - sealed.counter >= kReplayWindow / 2;
}

}  // namespace dwcp
