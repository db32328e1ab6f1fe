// How a stream gets a queue pair, and how it is carried by one. The socket was joined before, so it
// is the peer that is called, and it stays: whoever loses it has lost the stream.
#include <errno.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "engine/engine.h"
#include "engine/stream.h"

namespace dwcp {
namespace {

constexpr uint64_t kCallWithinUs = 5000000;
// The listener waits for the dialler's word, which may be that it waited in vain.
constexpr uint64_t kWordWithinUs = 15000000;
// Of all queue pairs of a link together, so that many of them pin no more than few.
constexpr uint32_t kRingsBytes = 64u << 20;
constexpr uint32_t kRingBytesMin = 128 * 1024;
constexpr uint32_t kRingBytesMax = 4u << 20;
constexpr int kFramesPerTurn = 8;

}  // namespace

uint32_t Stream::RdmaRingBytes() const {
  uint32_t bytes = kRingBytesMax;
  const auto streams = static_cast<uint32_t>(link_->streams().size() + 1);
  while (bytes > kRingBytesMin && bytes > kRingsBytes / streams) bytes /= 2;
  return bytes;
}

void Stream::RdmaNote(const std::string& why) {
  if (link_ != nullptr) link_->RdmaFellBack(why);
}

void Stream::BeginRdma() {
  state_ = State::kUpgrading;
  deadline_us_ = Engine::NowUs() + (dialled_ ? kCallWithinUs : kWordWithinUs);
  if (dialled_) return;  // what we hear next is an offer, or why there is none
  std::string why;
  RdmaFabric* fabric = engine_->rdma(&why);
  RdmaToken token;
  sockaddr_storage local{};
  socklen_t size = sizeof local;
  uint16_t port = 0;
  if (fabric != nullptr && getsockname(fd(), reinterpret_cast<sockaddr*>(&local), &size) == 0 &&
      getrandom(token.data(), token.size(), 0) == kRdmaTokenBytes) {
    port = fabric->Await(this, token, local, &why);
  }
  if (port == 0) {
    TellRdmaFailed(why);
    return FallBack(why);
  }
  uint8_t offer[kRdmaOfferBytes] = {};
  std::memcpy(offer, token.data(), token.size());
  std::memcpy(offer + kRdmaTokenBytes, &port, sizeof port);
  FrameHeader header{};
  header.type = FrameType::kRdmaOffer;
  header.body_bytes = kRdmaOfferBytes;
  QueueFrame(header, offer);
}

bool Stream::OnRdmaFrame() {
  switch (frame_.type) {
    case FrameType::kRdmaOffer:
      return dialled_ && rdma_ == nullptr ? OnRdmaOffer() : Refuse("an offer to whom offers");
    case FrameType::kRdmaReady:
      if (dialled_ || rdma_ == nullptr) return Refuse("a queue pair that nobody made");
      EnterRdma();
      return true;
    default: {
      std::string why(small_, small_ + frame_.plain_bytes());
      for (char& letter : why) {
        if (letter < ' ' || letter > '~') letter = '?';
      }
      if (dialled_ && rdma_connected_) return Refuse("gives up a queue pair that stands");
      FallBack("the peer says: " + why);
      return state_ == State::kAttached;
    }
  }
}

bool Stream::OnRdmaOffer() {
  RdmaToken token;
  uint16_t port;
  std::memcpy(token.data(), small_, token.size());
  std::memcpy(&port, small_ + kRdmaTokenBytes, sizeof port);
  sockaddr_storage local{}, remote{};
  socklen_t local_size = sizeof local, remote_size = sizeof remote;
  std::string why;
  RdmaFabric* fabric = engine_->rdma(&why);
  if (fabric != nullptr &&
      getsockname(fd(), reinterpret_cast<sockaddr*>(&local), &local_size) == 0 &&
      getpeername(fd(), reinterpret_cast<sockaddr*>(&remote), &remote_size) == 0) {
    rdma_ = fabric->Call(this, token, local, remote, port, &why);
  }
  if (rdma_ == nullptr) RdmaFailed(why);
  return state_ != State::kClosed;
}

void Stream::RdmaCalled(std::unique_ptr<RdmaPath> path) {
  if (state_ == State::kUpgrading && rdma_ == nullptr) rdma_ = std::move(path);
}

// The dialler decides, and says so: its word is the last on the socket.
void Stream::RdmaConnected() {
  if (state_ != State::kUpgrading) return;
  FrameHeader header{};
  header.type = FrameType::kRdmaReady;
  QueueFrame(header, nullptr);
  rdma_connected_ = true;
}

void Stream::RdmaFailed(const std::string& why) {
  if (state_ == State::kAttached && by_rdma_) {
    // Its loop finds out at its next turn: only it may end the stream.
    Arm();
    return;
  }
  // A listener waits for the dialler's word.
  if (state_ != State::kUpgrading || !dialled_ || rdma_connected_) return;
  TellRdmaFailed(why);
  FallBack(why);
}

void Stream::Late() {
  if (state_ == State::kUpgrading && dialled_ && !rdma_connected_) {
    return RdmaFailed("no queue pair came about in time");
  }
  Close("ERR_DWCP_TIMEOUT", "bulk stream " + remote_ + " did not join in time", ETIMEDOUT);
}

void Stream::TellRdmaFailed(const std::string& why) {
  FrameHeader header{};
  header.type = FrameType::kRdmaFailed;
  header.body_bytes = static_cast<uint32_t>(std::min<size_t>(why.size(), kRdmaReasonBytesMax));
  QueueFrame(header, reinterpret_cast<const uint8_t*>(why.data()));
}

void Stream::FallBack(const std::string& why) {
  engine_->ForgetRdma(this);
  rdma_.reset();
  link_->RdmaFellBack(why);
  if (link_->rdma_wish() == RdmaWish::kRequire) {
    Close("ERR_DWCP_UNSUPPORTED", "RDMA is required for bulk stream " + remote_ + ", but " + why);
    return;
  }
  state_ = State::kAttached;
  Arm();
}

void Stream::EnterRdma() {
  state_ = State::kAttached;
  by_rdma_ = true;
  rdma_connected_ = false;
  rdma_->Start();
  Arm();
}

// The peer has nothing to say on the socket any more but that it is gone.
bool Stream::SocketIsSilent() {
  uint8_t byte;
  const ssize_t got = recv(fd(), &byte, 1, MSG_DONTWAIT);
  if (got > 0) return Refuse("speaks on the socket of a queue pair");
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  const int error_number = got == 0 ? ECONNRESET : errno;
  Close("ERR_DWCP_PEER_UNREACHABLE", "the peer closed bulk stream " + remote_, error_number);
  return false;
}

void Stream::OnRdma() {
  if (state_ != State::kAttached) return;
  if (!rdma_->Poll()) {
    const std::string why = rdma_->why();
    Close("ERR_DWCP_PEER_UNREACHABLE", "bulk stream " + remote_ + " broke: " + why, EIO);
    return;
  }
  ReleaseSent();
  if (rdma_->readable() > 0) Read();
  if (state_ != State::kAttached) return;
  const bool has_begun = tx_ != nullptr || out_offset_ < out_bytes_;
  if (has_begun || acks_due_ || armed()) WriteRdma();
  // Another turn, after the others had theirs.
  if (state_ == State::kAttached && rdma_->readable() > 0) Arm();
}

void Stream::ReleaseSent() {
  while (sent_count_ > 0) {
    const Sent& first = sent_[sent_first_];
    if (rdma_ != nullptr && first.until > rdma_->completed()) return;
    first.buffer->writers--;
    if (first.buffer->writers == 0 && first.buffer->released) link_->pool().Give(first.buffer);
    sent_first_ = (sent_first_ + 1) % kSentMax;
    sent_count_--;
  }
}

// Completions and credits wake us when there is room again.
void Stream::WriteRdma() {
  bool has_more = true;
  for (int turn = 0; turn < kFramesPerTurn && has_more && !engine_->wanted(); turn++) {
    const bool small = out_offset_ < out_bytes_;
    if (sent_count_ == kSentMax || (tx_ == nullptr && !small && !NextFrame())) {
      has_more = false;
      break;
    }
    size_t bytes;
    if (tx_ != nullptr) {
      bytes = rdma_->Post(tx_, tx_offset_);
      tx_offset_ += bytes;
    } else {
      bytes = rdma_->PostCopy(out_.data() + out_offset_, out_bytes_ - out_offset_);
      out_offset_ += bytes;
    }
    has_more = bytes > 0;
    link_->Sent(bytes);
    if (tx_ != nullptr && tx_offset_ == tx_->frame_bytes()) {
      sent_[(sent_first_ + sent_count_++) % kSentMax] = {rdma_->posted(), tx_};
      tx_ = nullptr;
      tx_offset_ = 0;
    }
  }
  const bool stands = [&] {
    Engine::Outside outside(engine_);
    return rdma_->Flush(sent_count_ > 0);
  }();
  if (!stands) {
    Close("ERR_DWCP_PEER_UNREACHABLE", "bulk stream " + remote_ + " broke: " + rdma_->why(), EIO);
    return;
  }
  Want(kOut, has_more);
}

}  // namespace dwcp
