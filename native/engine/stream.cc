#include "engine/stream.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>

#include "engine/engine.h"

namespace dwcp {
namespace {

// Until it is attached to a link that says else.
constexpr uint32_t kUnreadTimeoutMs = 15000;
constexpr int kFramesPerTurn = 4;  // then the next socket has its turn

}  // namespace

Stream::Stream(Engine* engine, IoLoop* loop, int id, int fd, bool dialled, std::string remote,
               uint64_t deadline_us)
    : Pollable(engine, loop),
      id_(id),
      dialled_(dialled),
      remote_(std::move(remote)),
      deadline_us_(deadline_us),
      state_(dialled ? State::kConnecting : State::kJoining) {
  loop->stream_count++;
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  Open(fd, dialled ? kOut : kIn);
  SetUnreadTimeout(kUnreadTimeoutMs);
  if (dialled) return;
  if (getrandom(challenge_.data(), challenge_.size(), 0) != kChallengeBytes) {
    Close("ERR_DWCP_NATIVE", "no random bytes for the join challenge", errno);
    return;
  }
  FrameHeader header{};
  header.type = FrameType::kChallenge;
  header.body_bytes = kChallengeBytes;
  QueueFrame(header, challenge_.data());
}

Stream::~Stream() = default;

void Stream::QueueFrame(FrameHeader header, const uint8_t* body) {
  if (out_offset_ > 0) {
    std::memmove(out_.data(), out_.data() + out_offset_, out_bytes_ - out_offset_);
    out_bytes_ -= out_offset_;
    out_offset_ = 0;
  }
  const uint32_t plain_bytes = header.body_bytes;
  if (keys_ != nullptr) {
    header.flags |= kSealed;
    header.body_bytes += kSealBytes;
  }
  if (out_bytes_ + kHeaderBytes + header.body_bytes > out_.size()) return;  // repeated later
  uint8_t* out = out_.data() + out_bytes_;
  WriteHeader(out, header);
  uint8_t* text = out + kHeaderBytes + (keys_ == nullptr ? 0 : kNonceBytes);
  if (plain_bytes > 0) std::memcpy(text, body, plain_bytes);
  if (keys_ == nullptr) {
    PatchTag(out, Crc32c(HeaderCrc(out), text, plain_bytes));
  } else {
    keys_->sealer.SealSmall({out, kHeaderBytes}, {text, plain_bytes}, out + kHeaderBytes,
                            text + plain_bytes);
  }
  out_bytes_ += kHeaderBytes + header.body_bytes;
  Arm();
}

void Stream::SendJoin(const uint8_t* message, size_t bytes) {
  if (state_ == State::kClosed) return;
  FrameHeader header{};
  header.type = dialled_ ? FrameType::kJoin : FrameType::kAccept;
  header.body_bytes = static_cast<uint32_t>(bytes);
  QueueFrame(header, message);
}

void Stream::Attach(Link* link) {
  if (state_ == State::kClosed) return;
  state_ = State::kAttached;
  link_ = link;
  keys_ = link->keys();
  if (link->rdma_wish() != RdmaWish::kOff) BeginRdma();
  if (state_ == State::kClosed) return;
  link->Attach(this);
  Want(kIn, true);
}

bool Stream::OwesAck() const {
  if (link_ == nullptr) return false;
  for (size_t slot = 0; slot < kReceiversMax; slot++) {
    const Receiver* receiver = link_->receiver_at(slot);
    if (receiver != nullptr && receiver->generation > ack_sent_[slot]) return true;
  }
  return false;
}

uint64_t Stream::MinRttUs() const {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd(), IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return 0;
  return info.tcpi_min_rtt == ~0u ? 0 : info.tcpi_min_rtt;
}

int Stream::SetCongestion(const std::string& name) {
  if (name.empty()) return 0;
  const auto size = static_cast<socklen_t>(name.size());
  return setsockopt(fd(), IPPROTO_TCP, TCP_CONGESTION, name.data(), size) < 0 ? -errno : 0;
}

void Stream::SetUnsentLimit(uint32_t bytes) {
  setsockopt(fd(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

void Stream::SetUnreadTimeout(uint32_t timeout_ms) {
  setsockopt(fd(), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

void Stream::DropBuffers() {
  if (rdma_ != nullptr) {
    link_->RdmaGone(rdma_->counters());
    // The card reads and writes nothing of ours from here on.
    rdma_.reset();
    ReleaseSent();
  }
  if (rx_ != nullptr) link_->pool().Give(rx_);
  rx_ = nullptr;
  if (tx_ != nullptr) FinishChunk();
}

void Stream::FinishChunk() {
  tx_->writers--;
  if (tx_->writers == 0 && tx_->released) link_->pool().Give(tx_);
  tx_ = nullptr;
}

void Stream::Close(const std::string& code, const std::string& message, int error_number) {
  if (state_ == State::kClosed) return;
  if (state_ == State::kUpgrading) engine_->ForgetRdma(this);
  state_ = State::kClosed;
  CloseFd();
  if (link_ != nullptr) {
    DropBuffers();
    Link* link = link_;
    link_ = nullptr;
    link->StreamGone(this);
  }
  if (dialled_ || announced_) {
    engine_->Emit(Event{"closed", id_, code, message, error_number, {}, {}});
  } else if (!code.empty()) {
    engine_->Refused(code, message, error_number);
  }
  engine_->Retire(id_);
}

bool Stream::Refuse(const char* what) {
  Close("ERR_DWCP_PROTOCOL", std::string("bulk stream from ") + remote_ + ": " + what);
  return false;
}

bool Stream::Forged() {
  link_->counters().frames_forged++;
  Close("ERR_DWCP_CORRUPT", "a frame from " + remote_ + " is not what the peer sealed");
  return false;
}

bool Stream::Replayed() {
  link_->counters().frames_replayed++;
  Close("ERR_DWCP_PROTOCOL", "a frame from " + remote_ + " was here before");
  return false;
}

bool Stream::Corrupt(const std::string& message) {
  if (link_ != nullptr) link_->counters().chunks_corrupt++;
  Close("ERR_DWCP_CORRUPT", message);
  return false;
}

void Stream::OnEvents(uint32_t events) {
  if (state_ == State::kConnecting) {
    Connected();
    return;
  }
  if (by_rdma_) {
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == 0 || SocketIsSilent()) OnRdma();
    return;
  }
  if (state_ == State::kJoined && (events & (EPOLLERR | EPOLLHUP)) != 0) {
    Close("ERR_DWCP_PEER_UNREACHABLE", "the peer closed bulk stream " + remote_, ECONNRESET);
    return;
  }
  if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && state_ != State::kJoined) Read();
  if (((events & EPOLLOUT) != 0 || acks_due_) && state_ != State::kClosed) Write();
}

void Stream::Connected() {
  int error_number = 0;
  socklen_t size = sizeof error_number;
  getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error_number, &size);
  if (error_number != 0) {
    Close("ERR_DWCP_PEER_UNREACHABLE", "cannot connect bulk stream to " + remote_, error_number);
    return;
  }
  state_ = State::kJoining;
  Want(kIn, true);
  if (out_bytes_ == out_offset_) Want(kOut, false);
}

// Only an attached stream leaves the lock: a stranger may be closed by any thread at any time.
template <typename Call>
ssize_t Stream::Transfer(Call call) {
  if (state_ != State::kAttached) return call();
  Engine::Outside outside(engine_);
  return call();
}

// Reads what the current frame lacks and, in the same call, the next header.
void Stream::Read() {
  for (int turn = 0; turn < kFramesPerTurn * 4 && !engine_->wanted(); turn++) {
    iovec parts[Buffer::kPartsMax];
    int count = 0;
    size_t wanted = 0;
    if (!in_body_) {
      parts[count++] = {header_ + header_got_, kHeaderBytes - header_got_};
    } else if (rx_ != nullptr) {
      const bool sealed = frame_.sealed();
      count = PartsFrom<4>(body_got_,
                           {{{rx_->nonce, sealed ? kNonceBytes : 0},
                             {rx_->meta + kHeaderBytes, frame_.map_entries * size_t{8}},
                             {rx_->payload, frame_.encoded_bytes},
                             {rx_->seal_tag, sealed ? kSealTagBytes : 0}}},
                           parts);
      wanted = frame_.body_bytes - body_got_;
    } else {
      parts[count++] = {small_ + body_got_, frame_.body_bytes - body_got_};
      wanted = frame_.body_bytes - body_got_;
    }
    uint8_t next_header[kHeaderBytes];
    // After a join message the peer's next bytes belong to a state that is not reached yet.
    if (in_body_ && state_ == State::kAttached) parts[count++] = {next_header, kHeaderBytes};
    const ssize_t got = Transfer([&] {
      return by_rdma_ ? static_cast<ssize_t>(rdma_->Read(parts, count)) : readv(fd(), parts, count);
    });
    if (got == 0 && by_rdma_) return;
    if (got == 0) {
      Close("ERR_DWCP_PEER_UNREACHABLE", "the peer closed bulk stream " + remote_, ECONNRESET);
      return;
    }
    if (got < 0) {
      if (errno == EAGAIN || errno == EINTR) return;
      Close("ERR_DWCP_PEER_UNREACHABLE", "bulk stream " + remote_ + " broke", errno);
      return;
    }
    if (link_ != nullptr) link_->counters().wire_bytes_received += static_cast<uint64_t>(got);
    if (!in_body_) {
      header_got_ += static_cast<size_t>(got);
      if (header_got_ < kHeaderBytes) continue;
      if (!OnHeader()) return;
    } else if (static_cast<size_t>(got) < wanted) {
      body_got_ += static_cast<size_t>(got);
      continue;
    } else {
      if (!OnBody()) return;
      header_got_ = static_cast<size_t>(got) - wanted;
      std::memcpy(header_, next_header, header_got_);
      if (header_got_ == kHeaderBytes && !OnHeader()) return;
    }
    // Frames without a body are complete with their header.
    while (in_body_ && frame_.body_bytes == 0) {
      if (!OnBody()) return;
    }
  }
}

bool Stream::OnHeader() {
  const FrameError error = ReadHeader(header_, &frame_);
  if (error == FrameError::kCheck) {
    return Corrupt("the header of a frame from " + remote_ + " failed its check");
  }
  if (error != FrameError::kNone) return Refuse(FrameErrorText(error));
  const bool upgrades = frame_.type >= FrameType::kRdmaOffer;
  const bool attached_type = frame_.type == FrameType::kChunkPages ||
                             frame_.type == FrameType::kChunkBytes ||
                             frame_.type >= FrameType::kAck;
  const bool is_expected =
      upgrades ? state_ == State::kUpgrading
               : attached_type == (state_ == State::kAttached) && state_ != State::kUpgrading;
  if (!is_expected) return Refuse(FrameErrorText(FrameError::kType));
  if (attached_type && frame_.sealed() != (keys_ != nullptr)) {
    return Refuse(frame_.sealed() ? "a sealed frame on a link without keys"
                                  : "a frame that nobody sealed on a link with keys");
  }
  in_body_ = true;
  body_got_ = 0;
  if (frame_.type == FrameType::kChunkPages || frame_.type == FrameType::kChunkBytes) {
    rx_ = link_->pool().Take();
    rx_->Reserve(frame_.encoded_bytes);
  }
  return true;
}

// False when the stream was closed, or must not be read on.
bool Stream::OnBody() {
  in_body_ = false;
  header_got_ = 0;
  if (rx_ != nullptr) return OnChunk();
  if (frame_.sealed()) {
    if (!OpenSmall()) return false;
  } else if (Crc32c(HeaderCrc(header_), small_, frame_.body_bytes) != frame_.tag) {
    return Corrupt("a frame from " + remote_ + " failed its checksum");
  }
  if (state_ == State::kJoining) return OnJoinFrame();
  if (state_ == State::kUpgrading) return OnRdmaFrame();
  if (frame_.type == FrameType::kAck) return OnAckFrame();
  if (frame_.type == FrameType::kPagesRefused) return OnRefusedFrame();
  if (frame_.type == FrameType::kRefusalsHeard) return OnHeardFrame();
  if (frame_.type == FrameType::kContent) return OnContentFrame();
  Sender* sender = link_->FindSender(frame_.transfer_id, frame_.epoch);
  if (sender != nullptr) {
    sender->Fail("ERR_DWCP_PROTOCOL", "the peer knows no such transfer");
  }
  return true;
}

bool Stream::OpenSmall() {
  uint8_t* text = small_ + kNonceBytes;
  const size_t bytes = frame_.plain_bytes();
  const SealPart body{text, bytes};
  if (!keys_->opener.Open(small_, {header_, kHeaderBytes}, &body, 1, text + bytes)) return Forged();
  // Each of these is sealed for one sending: the second time it is somebody else's.
  if (!keys_->opener.Mark(small_)) return Replayed();
  std::memmove(small_, text, bytes);
  return true;
}

bool Stream::OnJoinFrame() {
  if (dialled_ && frame_.type == FrameType::kChallenge && !announced_) {
    announced_ = true;
    std::memcpy(challenge_.data(), small_, kChallengeBytes);
    char name[16] = {};
    socklen_t size = sizeof name - 1;
    getsockopt(fd(), IPPROTO_TCP, TCP_CONGESTION, name, &size);
    engine_->Emit(Event{"challenge", id_, "", name, 0, {}, {challenge_.begin(), challenge_.end()}});
    deadline_us_ = Engine::NowUs() + kJoinTimeoutUs;
    return true;
  }
  const FrameType wanted = dialled_ ? FrameType::kAccept : FrameType::kJoin;
  if (frame_.type != wanted || (dialled_ && !announced_)) {
    return Refuse(FrameErrorText(FrameError::kType));
  }
  if (!dialled_) {
    if (engine_->Backlogged()) {
      Close("ERR_DWCP_LIMIT", "this node is too busy for the bulk stream from " + remote_);
      return false;
    }
    announced_ = true;
    engine_->Emit(Event{"accepted", id_, "", remote_, 0, {}, {}});
  }
  // What follows belongs to the link: it waits in the kernel until attach.
  state_ = State::kJoined;
  Want(kIn, false);
  engine_->Emit(Event{"join",
                      id_,
                      "",
                      "",
                      0,
                      {small_, small_ + frame_.body_bytes},
                      {challenge_.begin(), challenge_.end()}});
  return false;
}

bool Stream::NextAck() {
  for (size_t slot = 0; slot < kReceiversMax; slot++) {
    Receiver* receiver = link_->receiver_at(slot);
    if (receiver == nullptr || receiver->generation <= ack_sent_[slot]) continue;
    AckState ack;
    receiver->core().Describe(&ack);
    FrameHeader header{};
    header.type = FrameType::kAck;
    header.transfer_id = receiver->name().id;
    header.epoch = receiver->name().epoch;
    header.seq = ack.cumulative;
    header.credit = ack.credit_bytes;
    header.refused = static_cast<uint16_t>(receiver->refusals().total());
    header.body_bytes = ack.word_count * 8;
    ack_sent_[slot] = receiver->generation;
    QueueFrame(header, reinterpret_cast<const uint8_t*>(ack.words.data()));
    return true;
  }
  acks_due_ = false;
  unacked_bytes_ = 0;
  return false;
}

bool Stream::NextRefusal() {
  for (size_t slot = 0; slot < kReceiversMax; slot++) {
    Receiver* receiver = link_->receiver_at(slot);
    if (receiver == nullptr || !receiver->refusals().untold()) continue;
    uint32_t pages[kRefusedBytesMax / sizeof(uint32_t)];
    FrameHeader header{};
    header.type = FrameType::kPagesRefused;
    header.transfer_id = receiver->name().id;
    header.epoch = receiver->name().epoch;
    header.body_bytes =
        static_cast<uint32_t>(receiver->refusals().Tell(&header.seq, pages) * sizeof pages[0]);
    QueueFrame(header, reinterpret_cast<const uint8_t*>(pages));
    return true;
  }
  return false;
}

bool Stream::NextContent() {
  FrameHeader header{};
  const uint8_t* body;
  if (!link_->content().NextPiece(&header, &body)) return false;
  QueueFrame(header, body);
  return true;
}

bool Stream::NextFrame() {
  if (state_ != State::kAttached) return false;
  if (acks_due_ && (NextRefusal() || NextAck())) return true;
  if (NextContent()) return true;
  tx_ = link_->Pull(this);
  return tx_ != nullptr;
}

void Stream::Write() {
  if (by_rdma_) return WriteRdma();
  for (int turn = 0; turn < kFramesPerTurn * 2 && !engine_->wanted(); turn++) {
    const bool small = out_offset_ < out_bytes_;
    if (tx_ == nullptr && !small && !NextFrame()) {
      Want(kOut, false);
      if (rdma_connected_) EnterRdma();
      return;
    }
    iovec parts[Buffer::kPartsMax];
    msghdr message{};
    message.msg_iov = parts;
    // A chunk that was begun ends first; small frames go between chunks.
    if (tx_ != nullptr) {
      message.msg_iovlen = static_cast<size_t>(tx_->Parts(tx_offset_, parts));
    } else {
      parts[message.msg_iovlen++] = {out_.data() + out_offset_, out_bytes_ - out_offset_};
    }
    const ssize_t sent =
        Transfer([&] { return sendmsg(fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT); });
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        Arm();
        return;
      }
      Close("ERR_DWCP_PEER_UNREACHABLE", "bulk stream " + remote_ + " broke", errno);
      return;
    }
    if (link_ != nullptr) link_->Sent(static_cast<uint64_t>(sent));
    if (tx_ != nullptr) {
      tx_offset_ += static_cast<size_t>(sent);
      if (tx_offset_ == tx_->frame_bytes()) {
        tx_offset_ = 0;
        FinishChunk();
      }
    } else {
      out_offset_ += static_cast<size_t>(sent);
    }
  }
  Arm();
}

}  // namespace dwcp
