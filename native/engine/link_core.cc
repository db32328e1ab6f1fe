#include "engine/link_core.h"

#include <algorithm>

namespace dwcp {

bool SendCore::MayStage(uint64_t bytes) const {
  if (next_ - 1 - cumulative_ >= kOutstandingMax) return false;
  if (next_ == cumulative_ + 1) return true;
  return outstanding_bytes() + bytes <= std::min(window_bytes_, limit_bytes_) &&
         staged_bytes_ + bytes <= credit_bytes_;
}

uint64_t SendCore::Stage(uint64_t bytes, int stream) {
  const uint64_t seq = next_++;
  at(seq) = Slot{bytes, stream, State::kCarried};
  staged_bytes_ += bytes;
  return seq;
}

uint64_t SendCore::Reserve(uint64_t bytes, int stream) {
  const uint64_t seq = Stage(bytes, stream);
  at(seq).state = State::kBuilding;
  return seq;
}

void SendCore::Built(uint64_t seq, uint64_t bytes) {
  Slot& slot = at(seq);
  staged_bytes_ -= slot.bytes - bytes;
  slot.bytes = bytes;
  slot.state = State::kCarried;
}

void SendCore::Ready(uint64_t seq, uint64_t bytes) {
  Built(seq, bytes);
  at(seq).state = State::kReady;
}

void SendCore::Carry(uint64_t seq, int stream) {
  at(seq).state = State::kCarried;
  at(seq).stream = stream;
}

uint64_t SendCore::PullReinjection(int stream) {
  if (reinject_count_ == 0) return 0;
  for (uint64_t seq = cumulative_ + 1; seq < next_; seq++) {
    Slot& slot = at(seq);
    if (slot.state != State::kReinject) continue;
    slot.state = State::kCarried;
    slot.stream = stream;
    reinject_count_--;
    return seq;
  }
  return 0;
}

uint32_t SendCore::StreamDown(int stream) {
  uint32_t count = 0;
  for (uint64_t seq = cumulative_ + 1; seq < next_; seq++) {
    Slot& slot = at(seq);
    if (slot.state != State::kCarried || slot.stream != stream) continue;
    slot.state = State::kReinject;
    count++;
  }
  reinject_count_ += count;
  return count;
}

bool SendCore::Release(uint64_t seq) {
  Slot& slot = at(seq);
  if (slot.state == State::kFree) return false;
  if (slot.state == State::kReinject) reinject_count_--;
  released_bytes_ += slot.bytes;
  slot = Slot{};
  return true;
}

Offer ReceiveCore::Offered(uint64_t seq, uint64_t bytes) {
  if (seq == 0) return Offer::kImpossible;
  if (seq <= cumulative_) return Offer::kDuplicate;
  if (seq > cumulative_ + kOutstandingMax) return Offer::kImpossible;
  Slot& slot = slots_[seq % kOutstandingMax];
  if (slot.state != State::kAbsent) return Offer::kDuplicate;
  // The one after the cumulative is always admissible; the others fit together into the window.
  if (seq != cumulative_ + 1 && beyond_bytes_ + bytes > window_bytes_) return Offer::kImpossible;
  slot = Slot{bytes, State::kHeld};
  beyond_bytes_ += bytes;
  return Offer::kNew;
}

bool ReceiveCore::AdmitPage(uint64_t page, uint64_t seq) {
  if (versions_[page] >= seq) return false;
  versions_[page] = seq;
  return true;
}

void ReceiveCore::Landed(uint64_t seq) {
  slots_[seq % kOutstandingMax].state = State::kLanded;
  highest_ = std::max(highest_, seq);
  while (slots_[(cumulative_ + 1) % kOutstandingMax].state == State::kLanded) {
    cumulative_++;
    const uint64_t bytes = slots_[cumulative_ % kOutstandingMax].bytes;
    landed_bytes_ += bytes;
    beyond_bytes_ -= bytes;
    slots_[cumulative_ % kOutstandingMax] = Slot{};
  }
}

void ReceiveCore::Describe(AckState* ack) const {
  ack->cumulative = cumulative_;
  ack->credit_bytes = landed_bytes_ + window_bytes_;
  const uint64_t beyond = highest_ > cumulative_ ? highest_ - cumulative_ : 0;
  ack->word_count = static_cast<uint32_t>((beyond + 63) / 64);
  for (uint32_t word = 0; word < ack->word_count; word++) ack->words[word] = 0;
  for (uint64_t i = 0; i < beyond; i++) {
    const Slot& slot = slots_[(cumulative_ + 1 + i) % kOutstandingMax];
    if (slot.state == State::kLanded) ack->words[i / 64] |= uint64_t{1} << (i % 64);
  }
}

}  // namespace dwcp
