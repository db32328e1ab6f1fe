// Bytes in order from one process to another over one queue pair: written by the sender's card into
// a ring of the receiver (one-sided, straight from registered memory), each write with an immediate
// value as the doorbell. Credits come back by send and receive. Nothing blocks, nothing is
// allocated after Create, and everything is bounded by what the peer granted.
#pragma once
#include <sys/uio.h>

#include <memory>
#include <string>
#include <vector>

#include "rdma/memory_region.h"
#include "rdma/queue_pair.h"
#include "rdma/ring_window.h"

#if DWCP_HAS_VERBS
namespace dwcp {

struct ByteChannelLimits {
  uint32_t ring_bytes = 4u << 20;
  uint32_t receives = 128;
  uint32_t sends = 64;
};

struct ByteChannelCounters {
  uint64_t work_requests = 0;  // writes and credits
  uint64_t doorbells = 0;      // calls that told the card of them
  uint64_t completions = 0;    // of sends; unsignalled ones have none
  uint64_t arrivals = 0;       // of receives
  uint64_t polls = 0;
  uint64_t written_bytes = 0;
  uint64_t copied_bytes = 0;  // of these, out of memory that is not registered
  uint64_t flushed = 0;       // work requests that came back undone
};

class ByteChannel {
 public:
  // Registered memory that stays as it is until `completed` reaches what `posted` was after it.
  struct Piece {
    const void* start;
    size_t bytes;
    uint32_t local_key;
  };
  static constexpr int kPiecesMax = 6;

  // Null and why. The connection knows its device; receives are posted.
  static std::unique_ptr<ByteChannel> Create(std::shared_ptr<Connection> connection,
                                             const ByteChannelLimits& limits, std::string* why);
  // The card touches nothing any more once this returns.
  ~ByteChannel();
  ByteChannel(const ByteChannel&) = delete;
  ByteChannel& operator=(const ByteChannel&) = delete;

  const RingGrant& grant() const { return grant_; }
  const std::shared_ptr<ProtectionDomain>& domain() const { return domain_; }
  // The peer's grant; false when it makes no sense.
  bool Open(const RingGrant& peer);
  int fd() const { return completions_->fd(); }
  QueuePair& pair() { return *pair_; }

  // Takes as much of the pieces as there is room for, and says how much; Flush rings.
  size_t Post(const Piece* pieces, int count);
  // The same of memory that may change at once: it is copied.
  size_t PostCopy(const uint8_t* bytes, size_t count);
  // Rings for what was posted. The card says when it is done with it, at once if that is wanted, or
  // with what follows. False when it refused: the channel is broken.
  bool Flush(bool wants_completion = false);
  // Work requests ever, and how many of them the card is done with.
  uint64_t posted() const { return posted_; }
  uint64_t completed() const { return completed_; }

  // What the card has done since; the descriptor speaks up for what comes later. False once broken.
  bool Poll();
  bool broken() const { return !why_.empty(); }
  const std::string& why() const { return why_; }
  size_t readable() const { return reader_.readable(); }
  // Copies out what has arrived, in order. The memory that it stood in goes back to the peer.
  size_t Read(const iovec* parts, int count);
  // For nobody's use any more: brings the queue pair into error and waits until every work request
  // came back. How many did not within the polls that this allows itself: 0 unless the device
  // hangs.
  uint64_t Abort();
  const ByteChannelCounters& counters() const { return counters_; }

 private:
  static constexpr uint32_t kBatch = 8;
  static constexpr size_t kMessageBytesMax = 1 << 20;
  // Less than this is not worth a work request while the peer has more to take.
  static constexpr size_t kMessageBytesMin = 64 * 1024;
  static constexpr uint32_t kBounceBytes = 64 * 1024;
  static constexpr uint64_t kReceiveBit = uint64_t{1} << 63;
  static constexpr size_t kSlotBytes = 32;

  ByteChannel() = default;
  struct Unmap {
    size_t bytes;
    void operator()(uint8_t* start) const;
  };
  using Mapping = std::unique_ptr<uint8_t, Unmap>;
  static Mapping Map(size_t bytes);
  size_t RoomFor(size_t bytes) const;
  void Append(const Piece* pieces, int count, size_t bytes);
  uint64_t outstanding() const { return posted_ - completed_; }
  bool OnArrival(const ibv_wc& completion);
  void OnCompletion(const ibv_wc& completion);
  void Repost();
  void Credit();
  void Break(const std::string& why);

  // In the order in which they must be freed, last first: the queue pair before what it may touch.
  std::shared_ptr<Connection> connection_;
  std::shared_ptr<ProtectionDomain> domain_;
  std::shared_ptr<CompletionQueue> completions_;
  Mapping ring_, bounce_, slots_;
  std::shared_ptr<MemoryRegion> ring_region_, bounce_region_, slots_region_;
  std::unique_ptr<QueuePair> pair_;

  ByteChannelLimits limits_;
  RingGrant grant_, peer_;
  RingWriter writer_;
  RingReader reader_;
  bool open_ = false;
  std::string why_;

  uint64_t posted_ = 0, completed_ = 0;
  uint32_t unsignalled_ = 0;
  uint32_t pending_ = 0;
  ibv_send_wr requests_[kBatch];
  ibv_sge pieces_[kBatch][kPiecesMax];
  // The bounce memory is a ring, too: what was copied is free again once its request completed.
  struct Copied {
    uint64_t request;
    uint64_t end;
  };
  std::vector<Copied> copies_;
  size_t copies_first_ = 0, copies_count_ = 0;
  uint64_t bounce_written_ = 0, bounce_freed_ = 0;
  std::vector<uint32_t> taken_slots_;  // to be posted again
  std::vector<ibv_recv_wr> receives_;
  std::vector<ibv_sge> receive_pieces_;
  ByteChannelCounters counters_;
};

}  // namespace dwcp
#endif
