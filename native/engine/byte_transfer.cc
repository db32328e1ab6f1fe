// A carried byte stream: read when a stream pulls, written in order at the other side. A chunk is
// acknowledged only once it was written, so the local socket's back-pressure reaches the sender.
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "engine/engine.h"
#include "engine/link.h"
#include "engine/stream.h"
#include "engine/transfer.h"

namespace dwcp {
namespace {

constexpr size_t kReturnBytesMax = 1 << 20;
constexpr size_t kReturnPieceBytes = 64 * 1024;
// On the way to JavaScript; then the local side has to wait.
constexpr size_t kReturnUntakenBytesMax = 4 * kReturnPieceBytes;

}  // namespace

LocalSocket::LocalSocket(Engine* engine, int fd, uint32_t interest, void* owner, Ready ready)
    : Pollable(engine, engine->first_loop()), owner_(owner), ready_(ready) {
  Open(fd, interest);
}

ByteSender::ByteSender(Link* link, int handle, TransferName name, uint64_t window_bytes,
                       int listen_fd, std::string path)
    : Sender(link, handle, name, window_bytes), path_(std::move(path)) {
  listener_ = std::make_unique<LocalSocket>(
      link->engine(), listen_fd, EPOLLIN, this,
      [](void* self, uint32_t) { static_cast<ByteSender*>(self)->OnListener(); });
}

ByteSender::~ByteSender() { Hide(); }

// Closes both sockets; the objects live until no event of this round can name them.
void ByteSender::Hide() {
  for (auto* socket : {&listener_, &local_}) {
    if (*socket == nullptr) continue;
    if (socket == &listener_) unlink(path_.c_str());
    (*socket)->Shut();
    link_->engine()->first_loop()->Bury(std::move(*socket));
  }
}

void ByteSender::OnListener() {
  const int fd = accept4(listener_->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  unlink(path_.c_str());
  listener_->Shut();
  link_->engine()->first_loop()->Bury(std::move(listener_));
  local_ = std::make_unique<LocalSocket>(
      link_->engine(), fd, EPOLLIN, this,
      [](void* self, uint32_t events) { static_cast<ByteSender*>(self)->OnLocal(events); });
  link_->engine()->Emit(Event{"localConnected", handle_, "", "", 0, {}, {}});
}

void ByteSender::OnLocal(uint32_t events) {
  if ((events & EPOLLOUT) != 0) FlushReturn();
  if (local_ == nullptr || (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  // Nothing is read here: the bytes stay in the socket until a stream pulls a chunk.
  local_->Watch(EPOLLIN, false);
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) local_->Ignore();
  readable_ = true;
  link_->Kick();
}

bool ByteSender::Build(Buffer* buffer, Stream* stream) {
  size_t got = 0;
  while (got < link_->chunk_bytes()) {
    const ssize_t count = recv(local_->fd(), buffer->payload + got, link_->chunk_bytes() - got, 0);
    if (count > 0) {
      got += static_cast<size_t>(count);
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      readable_ = false;
      local_->Watch(EPOLLIN, true);
    } else if (count < 0) {
      Fail("ERR_DWCP_NATIVE", "the local side of a carried stream broke");
      return false;
    }
    break;
  }
  // Nothing and still readable is the end: it has a chunk of its own, and so has its own place.
  if (got == 0 && !readable_) return false;
  buffer->payload_bytes = buffer->raw_bytes = static_cast<uint32_t>(got);
  local_bytes_ += got;
  const uint64_t seq = core_.Reserve(kChunkFrameOverhead + link_->chunk_bytes(), stream->id());
  if (got == 0) {
    ended_ = true;
    end_seq_ = seq;
  }
  Keep(seq, buffer);
  {
    Engine::Outside outside(link_->engine());
    Seal(buffer, seq, FrameType::kChunkBytes, 0, got == 0 ? kEndOfBytes : 0, nullptr,
         link_->keys());
  }
  core_.Built(seq, buffer->frame_bytes());
  return true;
}

void ByteSender::Released(const Buffer& buffer) { acked_bytes_ += buffer.payload_bytes; }

void ByteSender::Advanced() {
  if (!ended_ || drained_ || core_.cumulative() < end_seq_) return;
  drained_ = true;
  link_->engine()->Emit(Event{"drained", handle_, "", "", 0, {}, {}});
}

void ByteSender::WriteReturn(const uint8_t* bytes, size_t count) {
  if (failed_ || local_ == nullptr) return;
  if (return_.size() + count > kReturnBytesMax) {
    Fail("ERR_DWCP_LIMIT", "the local side does not read what is written back to it");
    return;
  }
  return_.insert(return_.end(), bytes, bytes + count);
  FlushReturn();
}

void ByteSender::FlushReturn() {
  while (!return_.empty()) {
    const ssize_t sent =
        send(local_->fd(), return_.data(), return_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      // A local side that ended wants no answer any more.
      if (errno != EAGAIN) return_.clear();
      break;
    }
    return_.erase(return_.begin(), return_.begin() + sent);
  }
  local_->Watch(EPOLLOUT, !return_.empty());
}

void ByteSender::Fail(const std::string& code, const std::string& message) {
  if (failed_) return;
  failed_ = true;
  Drop();
  Hide();
  link_->engine()->Emit(Event{"sendFailed", handle_, code, message, 0, {}, {}});
}

SendCounters ByteSender::counters() const {
  SendCounters counters;
  counters.wire_bytes = wire_bytes_;
  counters.local_bytes = local_bytes_;
  counters.acked_bytes = acked_bytes_;
  return counters;
}

ByteReceiver::ByteReceiver(Link* link, int handle, TransferName name, uint64_t window_bytes, int fd)
    : Receiver(link, handle, name, window_bytes, 0) {
  local_ = std::make_unique<LocalSocket>(
      link->engine(), fd, EPOLLIN, this,
      [](void* self, uint32_t events) { static_cast<ByteReceiver*>(self)->OnLocal(events); });
  link->engine()->Emit(Event{"localConnected", handle, "", "", 0, {}, {}});
}

ByteReceiver::~ByteReceiver() {
  for (Buffer* buffer : held_) {
    if (buffer != nullptr) link_->pool().Give(buffer);
  }
  if (local_ == nullptr) return;
  local_->Shut();
  link_->engine()->first_loop()->Bury(std::move(local_));
}

const char* ByteReceiver::Check(const FrameHeader& header, Buffer*) {
  return header.type == FrameType::kChunkBytes ? nullptr : "a chunk of pages for a byte stream";
}

bool ByteReceiver::Take(const FrameHeader& header, Buffer* buffer, const Landing&) {
  if (failed_) return false;
  buffer->end = (header.flags & kEndOfBytes) != 0;
  held_[header.seq % kOutstandingMax] = buffer;
  counters_.wire_bytes += kHeaderBytes + header.body_bytes;
  Flush();
  return true;
}

void ByteReceiver::Flush() {
  bool landed = false;
  while (!failed_) {
    const uint64_t seq = core_.cumulative() + 1;
    Buffer*& slot = held_[seq % kOutstandingMax];
    if (slot == nullptr) {
      local_->Watch(EPOLLOUT, false);
      break;
    }
    if (write_offset_ < slot->payload_bytes) {
      const ssize_t sent = send(local_->fd(), slot->payload + write_offset_,
                                slot->payload_bytes - write_offset_, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) {
        local_->Watch(EPOLLOUT, true);
        break;
      }
      if (sent < 0) {
        Fail("ERR_DWCP_NATIVE", "the local side of a carried stream stopped reading");
        break;
      }
      counters_.local_bytes += static_cast<uint64_t>(sent);
      write_offset_ += static_cast<size_t>(sent);
      continue;
    }
    if (slot->end) shutdown(local_->fd(), SHUT_WR);
    core_.Landed(seq);
    link_->pool().Give(slot);
    slot = nullptr;
    write_offset_ = 0;
    landed = true;
  }
  if (!landed) return;
  link_->AckChanged(this);
  for (Stream* stream : link_->streams()) stream->AcksDue();
}

void ByteReceiver::OnLocal(uint32_t events) {
  if ((events & EPOLLOUT) != 0) Flush();
  if (local_->fd() < 0 || (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  if (!return_ended_) ReadReturn();
  if (return_ended_ && (events & (EPOLLHUP | EPOLLERR)) != 0) local_->Ignore();
}

void ByteReceiver::ReadReturn() {
  std::vector<uint8_t> piece(kReturnPieceBytes);
  const ssize_t got = recv(local_->fd(), piece.data(), piece.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0) {
    piece.resize(static_cast<size_t>(got));
    return_untaken_bytes_ += piece.size();
    if (return_untaken_bytes_ >= kReturnUntakenBytesMax) local_->Watch(EPOLLIN, false);
    link_->engine()->Emit(Event{"return", handle_, "", "", 0, std::move(piece), {}});
    return;
  }
  return_ended_ = true;
  local_->Watch(EPOLLIN, false);
  if (got < 0) {
    Fail("ERR_DWCP_GUEST_FAILED", "the local side of a carried stream broke");
    return;
  }
  link_->engine()->Emit(Event{"localClosed", handle_, "", "", 0, {}, {}});
}

void ByteReceiver::ReturnTaken(size_t bytes) {
  return_untaken_bytes_ -= bytes;
  if (failed_ || return_ended_) return;
  local_->Watch(EPOLLIN, return_untaken_bytes_ < kReturnUntakenBytesMax);
}

void ByteReceiver::Fail(const std::string& code, const std::string& message) {
  if (failed_) return;
  failed_ = true;
  if (local_ != nullptr) local_->Shut();
  link_->engine()->Emit(Event{"receiveFailed", handle_, code, message, 0, {}, {}});
}

}  // namespace dwcp
