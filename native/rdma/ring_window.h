// The arithmetic of writing into a ring that somebody else reads, without any device: where the
// next bytes go, how many may, and what the peer's word about it may be.
#pragma once
#include <algorithm>
#include <cstdint>

#include "rdma/ring_grant.h"

namespace dwcp {

// Of the side that writes.
class RingWriter {
 public:
  // So many receives stay for credits: data never takes the last ones.
  static constexpr uint64_t kReserved = 8;

  void Open(const RingGrant& peer) {
    ring_bytes_ = peer.ring_bytes;
    receives_ = receives_max_ = peer.receives;
  }
  // How many bytes one message may have now: they lie in one piece.
  uint64_t Room() const {
    if (receives_ - messages_ <= kReserved) return 0;
    const uint64_t left = ring_bytes_ - (written_ - taken_);
    return std::min(left, ring_bytes_ - offset());
  }
  bool MayCredit() const { return receives_ > messages_; }
  uint64_t offset() const { return ring_bytes_ == 0 ? 0 : written_ % ring_bytes_; }
  uint64_t written() const { return written_; }
  uint64_t untaken() const { return written_ - taken_; }
  void Wrote(uint64_t bytes) {
    written_ += bytes;
    messages_++;
  }
  void Credited() { messages_++; }
  // False when the peer says what cannot be.
  bool Hear(const RingCredit& credit) {
    if (credit.magic != RingCredit::kMagic) return false;
    if (credit.taken_bytes < taken_ || credit.taken_bytes > written_) return false;
    if (credit.receives < receives_ || credit.receives > messages_ + receives_max_) return false;
    taken_ = credit.taken_bytes;
    receives_ = credit.receives;
    return true;
  }

 private:
  uint64_t ring_bytes_ = 0;
  uint64_t receives_max_ = 0;
  uint64_t written_ = 0;   // ever, as all of these
  uint64_t taken_ = 0;     // as the peer said last
  uint64_t messages_ = 0;  // each takes one receive
  uint64_t receives_ = 0;  // that the peer posted
};

// Of the side that reads.
class RingReader {
 public:
  void Open(uint32_t ring_bytes, uint32_t receives) {
    ring_bytes_ = ring_bytes;
    receives_ = posted_ = told_posted_ = receives;
  }
  // A doorbell: so many bytes are new, at this position. False when that cannot be.
  bool Arrived(uint64_t bytes, uint32_t position) {
    if (bytes == 0 || position != static_cast<uint32_t>(arrived_)) return false;
    if (bytes > ring_bytes_ - arrived_ % ring_bytes_) return false;
    if (arrived_ + bytes - taken_ > ring_bytes_) return false;
    arrived_ += bytes;
    return true;
  }
  uint64_t readable() const { return arrived_ - taken_; }
  // What lies in one piece at offset().
  uint64_t contiguous() const { return std::min(readable(), ring_bytes_ - offset()); }
  uint64_t offset() const { return taken_ % ring_bytes_; }
  void Took(uint64_t bytes) { taken_ += bytes; }
  void Posted(uint64_t receives) { posted_ += receives; }
  // The peer should hear: a quarter of either is enough for it to go on meanwhile.
  bool OwesCredit() const {
    return (taken_ - told_taken_) * 4 >= ring_bytes_ || (posted_ - told_posted_) * 4 >= receives_;
  }
  RingCredit Tell() {
    told_taken_ = taken_;
    told_posted_ = posted_;
    RingCredit credit;
    credit.taken_bytes = taken_;
    credit.receives = posted_;
    return credit;
  }

 private:
  uint64_t ring_bytes_ = 1;
  uint64_t receives_ = 0;
  uint64_t arrived_ = 0;
  uint64_t taken_ = 0, told_taken_ = 0;
  uint64_t posted_ = 0, told_posted_ = 0;
};

}  // namespace dwcp
