#include "rdma/byte_channel.h"

#if DWCP_HAS_VERBS
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace dwcp {
namespace {

constexpr size_t kHugePageBytes = 2 << 20;
constexpr int kAbortPollsMax = 2000000;

}  // namespace

void ByteChannel::Unmap::operator()(uint8_t* start) const { munmap(start, bytes); }

// Huge pages where there are some: a card that translates addresses has fewer of them to know.
ByteChannel::Mapping ByteChannel::Map(size_t bytes) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
  void* start = MAP_FAILED;
  if (bytes % kHugePageBytes == 0) {
    start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kFlags | MAP_HUGETLB, -1, 0);
  }
  if (start == MAP_FAILED) start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  if (start == MAP_FAILED) return Mapping(nullptr, Unmap{bytes});
  return Mapping(static_cast<uint8_t*>(start), Unmap{bytes});
}

std::unique_ptr<ByteChannel> ByteChannel::Create(std::shared_ptr<Connection> connection,
                                                 const ByteChannelLimits& limits,
                                                 std::string* why) {
  std::unique_ptr<ByteChannel> made(new ByteChannel);
  ByteChannel& self = *made;
  self.limits_ = limits;
  self.connection_ = connection;
  self.domain_ = ProtectionDomain::Of(connection->device(), why);
  if (self.domain_ == nullptr) return nullptr;
  // A credit may be under way for each quarter of the receives, besides all that is posted.
  const int entries = static_cast<int>(limits.sends + limits.receives);
  self.completions_ = CompletionQueue::Create(self.domain_, entries, why);
  if (self.completions_ == nullptr) return nullptr;
  const size_t slot_bytes = limits.receives * kSlotBytes;
  self.ring_ = Map(limits.ring_bytes);
  self.bounce_ = Map(kBounceBytes);
  self.slots_ = Map(slot_bytes);
  if (self.ring_ == nullptr || self.bounce_ == nullptr || self.slots_ == nullptr) {
    *why = "no memory for the ring of a queue pair";
    return nullptr;
  }
  const auto enroll = [&](const Mapping& memory, size_t bytes, MemoryRegion::Use use) {
    return MemoryRegion::Register(self.domain_, memory.get(), bytes, use, why);
  };
  self.ring_region_ = enroll(self.ring_, limits.ring_bytes, MemoryRegion::Use::kGranted);
  if (self.ring_region_ == nullptr) return nullptr;
  self.bounce_region_ = enroll(self.bounce_, kBounceBytes, MemoryRegion::Use::kSource);
  if (self.bounce_region_ == nullptr) return nullptr;
  self.slots_region_ = enroll(self.slots_, slot_bytes, MemoryRegion::Use::kSink);
  if (self.slots_region_ == nullptr) return nullptr;
  const QueuePair::Depth depth{limits.sends, limits.receives, kPiecesMax, sizeof(RingCredit)};
  self.pair_ = QueuePair::Create(connection, self.domain_, self.completions_, depth, why);
  if (self.pair_ == nullptr) return nullptr;
  self.copies_.resize(limits.sends);
  self.taken_slots_.reserve(limits.receives);
  self.receives_.resize(limits.receives);
  self.receive_pieces_.resize(limits.receives);
  self.reader_.Open(limits.ring_bytes, limits.receives);
  for (uint32_t slot = 0; slot < limits.receives; slot++) self.taken_slots_.push_back(slot);
  self.Repost();
  if (self.broken() || !self.completions_->Arm()) {
    *why = "a queue pair takes no receives";
    return nullptr;
  }
  self.reader_.Open(limits.ring_bytes, limits.receives);
  self.grant_.ring_bytes = limits.ring_bytes;
  self.grant_.address = self.ring_region_->address();
  self.grant_.key = self.ring_region_->remote_key();
  self.grant_.receives = limits.receives;
  return made;
}

ByteChannel::~ByteChannel() = default;

bool ByteChannel::Open(const RingGrant& peer) {
  if (!peer.IsSane()) return false;
  peer_ = peer;
  writer_.Open(peer);
  open_ = true;
  return true;
}

void ByteChannel::Break(const std::string& why) {
  if (why_.empty()) why_ = why;
}

// How much of `bytes` may be posted now.
size_t ByteChannel::RoomFor(size_t bytes) const {
  // The last two of the queue are for credits.
  if (!open_ || broken() || outstanding() + 2 >= limits_.sends) return 0;
  const size_t room = std::min<size_t>(writer_.Room(), kMessageBytesMax);
  if (room >= bytes) return bytes;
  // Small pieces only where the ring ends, or where there is nothing that the peer could still
  // take.
  const bool is_end = writer_.offset() + room == peer_.ring_bytes;
  const size_t least = std::min<size_t>(kMessageBytesMin, peer_.ring_bytes / 4);
  return room >= least || is_end ? room : 0;
}

void ByteChannel::Append(const Piece* pieces, int count, size_t bytes) {
  ibv_send_wr& request = requests_[pending_];
  ibv_sge* list = pieces_[pending_];
  request = ibv_send_wr{};
  size_t left = bytes;
  for (int i = 0; i < count && left > 0; i++) {
    const size_t part = std::min(left, pieces[i].bytes);
    if (part == 0) continue;
    list[request.num_sge++] = {reinterpret_cast<uint64_t>(pieces[i].start),
                               static_cast<uint32_t>(part), pieces[i].local_key};
    left -= part;
  }
  request.wr_id = posted_;
  request.sg_list = list;
  request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  request.imm_data = htonl(static_cast<uint32_t>(writer_.written()));
  request.wr.rdma.remote_addr = peer_.address + writer_.offset();
  request.wr.rdma.rkey = peer_.key;
  if (pending_ > 0) requests_[pending_ - 1].next = &request;
  pending_++;
  posted_++;
  writer_.Wrote(bytes);
  counters_.written_bytes += bytes;
}

size_t ByteChannel::Post(const Piece* pieces, int count) {
  size_t wanted = 0;
  for (int i = 0; i < count; i++) wanted += pieces[i].bytes;
  if (pending_ == kBatch && !Flush()) return 0;
  const size_t bytes = RoomFor(wanted);
  if (bytes > 0) Append(pieces, count, bytes);
  return bytes;
}

size_t ByteChannel::PostCopy(const uint8_t* bytes, size_t count) {
  if (pending_ == kBatch && !Flush()) return 0;
  if (copies_count_ == copies_.size()) return 0;
  const uint64_t offset = bounce_written_ % kBounceBytes;
  const size_t free =
      std::min<size_t>(kBounceBytes - (bounce_written_ - bounce_freed_), kBounceBytes - offset);
  // So little at once that completions come before it is all taken.
  const size_t taken = RoomFor(std::min({count, free, size_t{kBounceBytes / (2 * kBatch)}}));
  if (taken == 0) return 0;
  std::memcpy(bounce_.get() + offset, bytes, taken);
  bounce_written_ += taken;
  copies_[(copies_first_ + copies_count_++) % copies_.size()] = {posted_, bounce_written_};
  const Piece piece{bounce_.get() + offset, taken, bounce_region_->local_key()};
  Append(&piece, 1, taken);
  counters_.copied_bytes += taken;
  return taken;
}

bool ByteChannel::Flush(bool wants_completion) {
  if (pending_ == 0 || broken()) return !broken();
  unsignalled_ += pending_;
  // One completion stands for all before it, so at most the last of a batch asks for one.
  if (wants_completion || unsignalled_ >= kBatch || outstanding() * 2 >= limits_.sends) {
    requests_[pending_ - 1].send_flags |= IBV_SEND_SIGNALED;
    unsignalled_ = 0;
  }
  counters_.work_requests += pending_;
  counters_.doorbells++;
  pending_ = 0;
  const int result = pair_->PostSends(&requests_[0]);
  if (result != 0) Break(std::string("the card takes no writes: ") + std::strerror(-result));
  return !broken();
}

void ByteChannel::Repost() {
  const size_t count = taken_slots_.size();
  if (count == 0) return;
  for (size_t i = 0; i < count; i++) {
    const uint32_t slot = taken_slots_[i];
    receive_pieces_[i] = {reinterpret_cast<uint64_t>(slots_.get() + slot * kSlotBytes),
                          static_cast<uint32_t>(kSlotBytes), slots_region_->local_key()};
    receives_[i] = ibv_recv_wr{};
    receives_[i].wr_id = kReceiveBit | slot;
    receives_[i].sg_list = &receive_pieces_[i];
    receives_[i].num_sge = 1;
    receives_[i].next = i + 1 < count ? &receives_[i + 1] : nullptr;
  }
  const int result = pair_->PostReceives(&receives_[0]);
  if (result != 0) {
    Break(std::string("the card takes no receives: ") + std::strerror(-result));
    return;
  }
  reader_.Posted(count);
  taken_slots_.clear();
}

// What came in is checked: the peer's process may be anybody's by now.
bool ByteChannel::OnArrival(const ibv_wc& completion) {
  counters_.arrivals++;
  const uint64_t slot = completion.wr_id & ~kReceiveBit;
  if (slot >= limits_.receives) return false;
  taken_slots_.push_back(static_cast<uint32_t>(slot));
  if (completion.opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
    return reader_.Arrived(completion.byte_len, ntohl(completion.imm_data));
  }
  if (completion.opcode != IBV_WC_RECV || completion.byte_len != sizeof(RingCredit)) return false;
  RingCredit credit;
  std::memcpy(&credit, slots_.get() + slot * kSlotBytes, sizeof credit);
  return writer_.Hear(credit);
}

void ByteChannel::OnCompletion(const ibv_wc& completion) {
  counters_.completions++;
  completed_ = std::max(completed_, completion.wr_id + 1);
  while (copies_count_ > 0 && copies_[copies_first_].request < completed_) {
    bounce_freed_ = copies_[copies_first_].end;
    copies_first_ = (copies_first_ + 1) % copies_.size();
    copies_count_--;
  }
}

bool ByteChannel::Poll() {
  completions_->TakeEvents();
  // Armed first: what completes after the last look is told then.
  completions_->Arm();
  ibv_wc done[CompletionQueue::kBatch];
  int count;
  do {
    count = completions_->Poll(done);
    counters_.polls++;
    if (count < 0) Break("a completion queue failed");
    for (int i = 0; i < count; i++) {
      const ibv_wc& each = done[i];
      if (each.status != IBV_WC_SUCCESS) {
        // The first one says what happened; all others come back as flushed.
        if (each.status == IBV_WC_WR_FLUSH_ERR) counters_.flushed++;
        if ((each.wr_id & kReceiveBit) == 0) completed_ = std::max(completed_, each.wr_id + 1);
        Break(std::string("a queue pair failed: ") + pair_->StatusText(each.status));
      } else if ((each.wr_id & kReceiveBit) == 0) {
        OnCompletion(each);
      } else if (!OnArrival(each)) {
        Break("the peer of a queue pair wrote what it was not granted");
      }
    }
    if (!broken()) Repost();
  } while (count == CompletionQueue::kBatch);
  if (!broken()) Credit();
  return !broken();
}

void ByteChannel::Credit() {
  if (!open_ || !reader_.OwesCredit() || !writer_.MayCredit()) return;
  if (outstanding() >= limits_.sends || !Flush()) return;
  const RingCredit credit = reader_.Tell();
  ibv_sge piece = {reinterpret_cast<uint64_t>(&credit), sizeof credit, 0};
  ibv_send_wr request{};
  request.wr_id = posted_++;
  request.sg_list = &piece;
  request.num_sge = 1;
  request.opcode = IBV_WR_SEND;
  request.send_flags = IBV_SEND_INLINE;
  if (++unsignalled_ >= kBatch || outstanding() * 2 >= limits_.sends) {
    request.send_flags |= IBV_SEND_SIGNALED;
    unsignalled_ = 0;
  }
  writer_.Credited();
  counters_.work_requests++;
  counters_.doorbells++;
  const int result = pair_->PostSends(&request);
  if (result != 0) Break(std::string("the card takes no credit: ") + std::strerror(-result));
}

size_t ByteChannel::Read(const iovec* parts, int count) {
  size_t copied = 0;
  for (int i = 0; i < count; i++) {
    auto* out = static_cast<uint8_t*>(parts[i].iov_base);
    size_t left = parts[i].iov_len;
    while (left > 0 && reader_.readable() > 0) {
      const size_t part = std::min<size_t>(left, reader_.contiguous());
      std::memcpy(out, ring_.get() + reader_.offset(), part);
      reader_.Took(part);
      out += part;
      left -= part;
      copied += part;
    }
    if (left > 0) break;
  }
  if (!broken()) Credit();
  return copied;
}

uint64_t ByteChannel::Abort() {
  Break("the queue pair was given up");
  // What was written here and not rung for never reached the card.
  posted_ -= pending_;
  pending_ = 0;
  if (pair_->MoveToError() != 0) return outstanding();
  // Unsignalled ones that went well left no completion. One more, which can only be flushed, comes
  // back after all of them.
  ibv_send_wr marker{};
  marker.wr_id = posted_++;
  marker.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  marker.send_flags = IBV_SEND_SIGNALED;
  marker.wr.rdma.remote_addr = peer_.address;
  marker.wr.rdma.rkey = peer_.key;
  if (pair_->PostSends(&marker) != 0) return outstanding();
  ibv_wc done[CompletionQueue::kBatch];
  for (int i = 0; i < kAbortPollsMax && completed_ < posted_; i++) {
    const int count = completions_->Poll(done);
    for (int j = 0; j < count; j++) {
      if (done[j].status == IBV_WC_WR_FLUSH_ERR) counters_.flushed++;
      if ((done[j].wr_id & kReceiveBit) == 0) {
        completed_ = std::max(completed_, done[j].wr_id + 1);
      }
    }
    if (count <= 0) sched_yield();
  }
  return outstanding();
}

}  // namespace dwcp
#endif
