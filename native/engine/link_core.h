// The rules of one transfer: credit, acknowledgement, re-injection, landing order.
// Pure: no socket, thread, clock, and no allocation after construction. The engine drives these on
// its thread, the simulator drives the very same classes through the addon.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "engine/frame.h"

namespace dwcp {

// Cumulative acknowledgement and what landed beyond it: bit i is sequence cumulative + 1 + i.
struct AckState {
  uint64_t cumulative = 0;
  uint64_t credit_bytes = 0;
  uint16_t refused = 0;  // modulo 2^16: pages so far whose base or content was missing
  uint32_t word_count = 0;
  std::array<uint64_t, kOutstandingMax / 64> words{};
};

class SendCore {
 public:
  explicit SendCore(uint64_t window_bytes) : window_bytes_(window_bytes) {}

  // Room for a new chunk of this size? The one after the cumulative is always admissible, so that
  // a window smaller than a chunk, or a lost credit, never stops both sides.
  bool MayStage(uint64_t bytes) const;
  // Names a new chunk that `stream` is about to carry.
  uint64_t Stage(uint64_t bytes, int stream);
  // The same for a chunk that is still being built and will have at most `bytes`. A page that is
  // read now may be read again for the next sequence, so a name is given before the first byte is
  // read. Until Built says how long it became, nobody may acknowledge it.
  uint64_t Reserve(uint64_t bytes, int stream);
  void Built(uint64_t seq, uint64_t bytes);
  // Instead of Built, for a chunk that no stream carries yet: nobody may acknowledge it until
  // Carry.
  void Ready(uint64_t seq, uint64_t bytes);
  void Carry(uint64_t seq, int stream);
  // Holds back new chunks beyond this many unacknowledged bytes: less than what the peer grants.
  void LimitOutstanding(uint64_t bytes) { limit_bytes_ = bytes; }
  // A chunk that lost its stream, now carried by `stream`; 0 when there is none.
  uint64_t PullReinjection(int stream);
  bool has_reinjection() const { return reinject_count_ > 0; }
  // Unacknowledged chunks of a dead stream go to another. Returns how many.
  uint32_t StreamDown(int stream);
  // False when the peer acknowledges what was never staged: a protocol error. Every sequence that
  // may be released goes to `released`, each exactly once.
  template <typename OnRelease>
  bool Acked(const AckState& ack, OnRelease released);

  uint64_t cumulative() const { return cumulative_; }
  uint64_t next() const { return next_; }
  uint64_t outstanding_bytes() const { return staged_bytes_ - released_bytes_; }

 private:
  enum class State : uint8_t { kFree, kBuilding, kReady, kCarried, kReinject };
  struct Slot {
    uint64_t bytes = 0;
    int stream = -1;
    State state = State::kFree;
  };

  Slot& at(uint64_t seq) { return slots_[seq % kOutstandingMax]; }
  bool Unsent(uint64_t seq) {
    return at(seq).state == State::kBuilding || at(seq).state == State::kReady;
  }
  bool Release(uint64_t seq);

  uint64_t window_bytes_;
  uint64_t limit_bytes_ = ~uint64_t{0};
  uint64_t credit_bytes_ = 0;
  uint64_t cumulative_ = 0;
  uint64_t next_ = 1;
  uint64_t staged_bytes_ = 0;
  uint64_t released_bytes_ = 0;
  uint32_t reinject_count_ = 0;
  std::array<Slot, kOutstandingMax> slots_{};
};

enum class Offer { kNew, kDuplicate, kImpossible };

class ReceiveCore {
 public:
  // `page_count` 0 for a transfer of bytes.
  ReceiveCore(uint64_t window_bytes, uint64_t page_count)
      : window_bytes_(window_bytes), versions_(page_count, 0) {}

  // A verified chunk is here. kNew claims the sequence: it must be landed. What was sent beyond the
  // credit we gave is impossible, so that a peer cannot make us hold more than the window.
  Offer Offered(uint64_t seq, uint64_t bytes);
  // Would AdmitPage say yes?
  bool MayAdmit(uint64_t page, uint64_t seq) const { return versions_[page] < seq; }
  // May this page of this chunk be written? An older or equal chunk never touches a page.
  bool AdmitPage(uint64_t page, uint64_t seq);
  // The chunk is in its place: it counts as acknowledged and frees its credit.
  void Landed(uint64_t seq);
  // Was it claimed or landed already?
  bool Holds(uint64_t seq) const {
    return seq <= cumulative_ || (seq <= cumulative_ + kOutstandingMax &&
                                  slots_[seq % kOutstandingMax].state != State::kAbsent);
  }
  void Describe(AckState* ack) const;
  uint64_t cumulative() const { return cumulative_; }

 private:
  enum class State : uint8_t { kAbsent, kHeld, kLanded };
  struct Slot {
    uint64_t bytes = 0;
    State state = State::kAbsent;
  };

  uint64_t window_bytes_;
  uint64_t cumulative_ = 0;
  uint64_t landed_bytes_ = 0;
  uint64_t beyond_bytes_ = 0;  // held or landed out of order
  uint64_t highest_ = 0;
  std::array<Slot, kOutstandingMax> slots_{};
  std::vector<uint64_t> versions_;
};

template <typename OnRelease>
bool SendCore::Acked(const AckState& ack, OnRelease released) {
  if (ack.cumulative >= next_) return false;
  for (uint64_t seq = cumulative_ + 1; seq <= ack.cumulative; seq++) {
    if (Unsent(seq)) return false;
  }
  for (uint32_t word = 0; word < ack.word_count; word++) {
    for (uint64_t rest = ack.words[word]; rest != 0; rest &= rest - 1) {
      const uint64_t seq = ack.cumulative + 1 + word * 64 + __builtin_ctzll(rest);
      if (seq >= next_ || Unsent(seq)) return false;
    }
  }
  if (ack.credit_bytes > credit_bytes_) credit_bytes_ = ack.credit_bytes;
  for (uint64_t seq = cumulative_ + 1; seq <= ack.cumulative; seq++) {
    if (Release(seq)) released(seq);
  }
  for (uint32_t word = 0; word < ack.word_count; word++) {
    for (uint64_t rest = ack.words[word]; rest != 0; rest &= rest - 1) {
      const uint64_t seq = ack.cumulative + 1 + word * 64 + __builtin_ctzll(rest);
      if (seq > cumulative_ && Release(seq)) released(seq);
    }
  }
  while (cumulative_ + 1 < next_ && at(cumulative_ + 1).state == State::kFree) cumulative_++;
  return true;
}

}  // namespace dwcp
