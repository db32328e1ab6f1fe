// One TCP connection: joins, then carries chunks of its link one way and acknowledgements back.
#pragma once
#include <array>
#include <string>

#include "engine/frame.h"
#include "engine/link.h"
#include "engine/pollable.h"
#include "engine/rdma_path.h"

namespace dwcp {

class Stream final : public Pollable {
 public:
  // kConnecting -> kJoining (challenge, join, accept) -> kJoined (waits for attach) -> kAttached,
  // which where queue pairs are wanted comes after kUpgrading (the socket carries, or they do)
  enum class State { kConnecting, kJoining, kJoined, kUpgrading, kAttached, kClosed };

  Stream(Engine* engine, IoLoop* loop, int id, int fd, bool dialled, std::string remote,
         uint64_t deadline_us);
  ~Stream() override;

  int id() const { return id_; }
  State state() const { return state_; }
  const std::string& remote() const { return remote_; }
  uint64_t deadline_us() const { return deadline_us_; }
  bool dialled() const { return dialled_; }
  bool announced() const { return announced_; }

  void SendJoin(const uint8_t* message, size_t bytes);
  void Attach(Link* link);
  // Idempotent; tells JavaScript once. An empty code is an orderly end.
  void Close(const std::string& code, const std::string& message, int error_number = 0);
  void Arm() { Want(kOut, true); }
  bool armed() const { return Wants(kOut); }
  void AcksDue() {
    acks_due_ = true;
    Arm();
  }
  bool OwesAck() const;
  // The kernel's least round trip of this connection; 0 while unknown.
  uint64_t MinRttUs() const;
  // 0, or minus errno. What the kernel lacks is refused; an empty name leaves it as it is.
  int SetCongestion(const std::string& name);
  // A peer that stopped reading for so long, or is gone without a word, ends the stream.
  void SetUnreadTimeout(uint32_t timeout_ms);
  void SetUnsentLimit(uint32_t bytes);
  void OnEvents(uint32_t events) override;
  // A queue pair carries it, and the socket only tells of the end.
  bool by_rdma() const { return by_rdma_; }
  RdmaCounters rdma_counters() const {
    return rdma_ == nullptr ? RdmaCounters{} : rdma_->counters();
  }
  // What its queue pair is told, see stream_rdma.cc. Each may end the path that calls it.
  void RdmaConnected();
  void RdmaCalled(std::unique_ptr<RdmaPath> path);
  void RdmaFailed(const std::string& why);
  void RdmaNote(const std::string& why);
  uint32_t RdmaRingBytes() const;
  // On its own loop: what arrived, and what may go out again.
  void OnRdma();
  // Nobody called in time: the socket carries it.
  void Late();

  uint64_t acked_bytes = 0;  // of chunks that it carried and the peer acknowledged
  StreamTuning tuning;

 private:
  static constexpr uint32_t kIn = 1, kOut = 4;  // EPOLLIN, EPOLLOUT

  void Connected();
  template <typename Call>
  ssize_t Transfer(Call call);
  void Read();
  void Write();
  bool NextFrame();
  bool NextAck();
  bool NextRefusal();
  bool NextContent();
  bool OnHeader();
  bool OnBody();
  bool OnJoinFrame();
  bool OnAckFrame();
  bool OnRefusedFrame();
  bool OnHeardFrame();
  bool OnContentFrame();
  bool IsPlainChunk(Buffer* buffer) const;
  bool CheckChunk(Buffer* buffer, PageDigest* digests) const;
  bool OpenChunk(Buffer* buffer, PageDigest* digests);
  bool OnChunk();
  bool Refuse(const char* what);
  bool Forged();
  bool Replayed();
  // Opens a small frame in place.
  bool OpenSmall();
  bool Corrupt(const std::string& message);
  void BeginRdma();
  bool OnRdmaFrame();
  bool OnRdmaOffer();
  void TellRdmaFailed(const std::string& why);
  void FallBack(const std::string& why);
  void EnterRdma();
  bool SocketIsSilent();
  void WriteRdma();
  void ReleaseSent();
  void QueueFrame(FrameHeader header, const uint8_t* body);
  void FinishChunk();
  void DropBuffers();

  int id_;
  bool dialled_;
  bool announced_ = false;
  std::string remote_;
  uint64_t deadline_us_;
  State state_;
  Link* link_ = nullptr;
  // Of the session that this stream joined: it knows no others, so no frame has to name its key.
  std::shared_ptr<LinkKeys> keys_;

  uint8_t header_[kHeaderBytes];
  size_t header_got_ = 0;
  bool in_body_ = false;
  FrameHeader frame_{};
  size_t body_got_ = 0;
  Buffer* rx_ = nullptr;
  alignas(8) uint8_t small_[kRefusedBytesMax + kSealBytes];

  std::array<uint8_t, 4096> out_{};  // joins, acks and resets
  size_t out_bytes_ = 0, out_offset_ = 0;
  Buffer* tx_ = nullptr;
  size_t tx_offset_ = 0;
  std::unique_ptr<RdmaPath> rdma_;
  bool by_rdma_ = false;
  bool rdma_connected_ = false;  // the dialler's: its word of it is the last on the socket
  // Chunks that the card may still read, until so many work requests are done.
  struct Sent {
    uint64_t until;
    Buffer* buffer;
  };
  static constexpr size_t kSentMax = 64;
  std::array<Sent, kSentMax> sent_{};
  size_t sent_first_ = 0, sent_count_ = 0;
  bool acks_due_ = false;
  uint64_t unacked_bytes_ = 0;  // landed since the last acknowledgement went out
  std::array<uint64_t, kReceiversMax> ack_sent_{};
  std::array<uint8_t, kChallengeBytes> challenge_{};
};

}  // namespace dwcp
