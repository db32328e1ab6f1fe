#include "qemu/source.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <system_error>

#include "engine/local_socket.h"
#include "memory/page_kernels.h"
#include "qemu/control_stream.h"

namespace dwcp::qemu {
namespace {

// Enough for a chunk; fewer are told of only when QEMU pauses.
constexpr uint64_t kTellPages = 256;

[[noreturn]] void Refuse(int error, const std::string& path) {
  throw std::system_error(-error, std::generic_category(), path);
}

}  // namespace

Source::Source(Notify notify, std::shared_ptr<Region> shadow, std::string listen_path,
               const std::string& control_path, uint64_t backlog_bytes)
    : Relay(std::move(notify)),
      shadow_(std::move(shadow)),
      listen_path_(std::move(listen_path)),
      backlog_pages_max_(backlog_bytes / kPageBytes),
      piece_(kPieceBytes),
      parser_(this),
      ever_(shadow_->page_count()),
      dirty_(shadow_->page_count()) {
  const int control_fd = ConnectLocal(control_path);
  if (control_fd < 0) Refuse(control_fd, control_path);
  control_.Adopt(control_fd);
  listen_fd_ = ListenLocal(listen_path_);
  if (listen_fd_ < 0) Refuse(listen_fd_, listen_path_);
  Start();
}

Source::~Source() {
  Stop();
  if (listen_fd_ >= 0) {
    close(listen_fd_);
    unlink(listen_path_.c_str());
  }
}

uint64_t Source::TakeDirty(PageSet* pages) {
  uint64_t taken;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    pages->Union(dirty_);
    taken = counters_.dirty_pages;
    dirty_.Clear();
    counters_.dirty_pages = dirty_with_bytes_ = 0;
    told_dirty_ = false;
  }
  Wake();
  return taken;
}

void Source::SetReading(bool reading) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    reading_ = reading;
  }
  Wake();
}

void Source::EndRound() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    rounds_ended_++;
  }
  Wake();
}

void Source::Release() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    released_ = true;
  }
  Wake();
}

SourceCounters Source::counters() {
  std::lock_guard<std::mutex> lock(mutex_);
  return counters_;
}

bool Source::MayRead() {
  if (!qemu_.open() || qemu_ended_ || control_.full() || held_ || mode_ == Mode::kFailed) {
    return false;
  }
  std::lock_guard<std::mutex> lock(mutex_);
  return reading_ && dirty_with_bytes_ < backlog_pages_max_;
}

void Source::Prepare(std::vector<pollfd>* wanted) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (; rounds_told_ < rounds_ended_ && mode_ == Mode::kPages && !ram_ended_; rounds_told_++) {
      Frame(kControlRound, 0);
    }
    if (held_ && released_) {
      held_ = false;
      Frame(kControlRamEnded, 0);
      control_.Write(writer_.bytes().data(), writer_.bytes().size());
      writer_.bytes().clear();
    }
  }
  if (qemu_ended_ && !held_) control_.EndAfterQueue();
  if (control_.open() && !control_.Flush()) {
    control_.Close();
    qemu_.Close();
    Fail("the control stream broke");
  }
  if (listen_fd_ >= 0) wanted->push_back({listen_fd_, POLLIN, 0});
  if (qemu_.open()) {
    short events = MayRead() ? POLLIN : 0;
    if (qemu_.queued_bytes() > 0) events |= POLLOUT;
    // A closed socket that nobody reads would wake for ever.
    if (events != 0) wanted->push_back({qemu_.fd(), events, 0});
  }
  if (control_.open()) {
    short events = qemu_.open() && !qemu_.full() ? POLLIN : 0;
    if (control_.queued_bytes() > 0) events |= POLLOUT;
    if (events != 0) wanted->push_back({control_.fd(), events, 0});
  }
}

void Source::Turn(const std::vector<pollfd>& ready) {
  if (EventsOf(ready, listen_fd_) != 0) Accept();
  const short control = EventsOf(ready, control_.fd());
  if ((control & (POLLIN | POLLHUP | POLLERR)) != 0 && qemu_.open()) {
    const ssize_t got = control_.Read(piece_.data(), piece_.size());
    if (got > 0) qemu_.Write(piece_.data(), static_cast<size_t>(got));
    if (got < 0) {
      // Our side ended the attempt: QEMU sees its connection go.
      control_.Close();
      qemu_.Close();
    }
  }
  if (!qemu_.Flush()) {
    // With words left for it that nobody takes, it would be ready to be told them for ever.
    qemu_ended_ = true;
    qemu_.Close();
  }
  if (EventsOf(ready, qemu_.fd()) != 0 && MayRead()) ReadQemu();
}

void Source::Accept() {
  int error = 0;
  const int fd = AcceptOnce(&listen_fd_, listen_path_, &error);
  if (fd >= 0) qemu_.Adopt(fd);
  if (error != 0) Fail("QEMU's connection could not be accepted");
}

void Source::ReadQemu() {
  const ssize_t got = qemu_.Read(piece_.data(), piece_.size());
  if (got > 0) parser_.Feed(piece_.data(), static_cast<size_t>(got));
  if (got < 0) {
    qemu_ended_ = true;
    parser_.Finish();
    if (mode_ == Mode::kUndecided) PassThrough("it ended before its first page");
  }
  if (mode_ == Mode::kPassThrough || (ram_ended_ && !held_)) {
    control_.Write(writer_.bytes().data(), writer_.bytes().size());
    writer_.bytes().clear();
  }
  bool tell;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const bool pauses = got < static_cast<ssize_t>(piece_.size());
    tell = !told_dirty_ && counters_.dirty_pages > 0 && (pauses || dirty_with_bytes_ >= kTellPages);
    told_dirty_ = told_dirty_ || tell;
  }
  if (tell) Emit("dirty");
  if (ram_ended_ && held_) Emit("ramEnded");
}

void Source::Frame(uint8_t type, size_t count) {
  ByteOutput frame;
  frame.U8(type);
  frame.Be32(count);
  control_.Write(frame.bytes.data(), frame.bytes.size());
}

// At the first section with pages: all that was said so far is known and kept.
void Source::Decide() {
  uint64_t pages = 0;
  for (const RamBlock& block : parser_.blocks()) {
    first_pages_.push_back(pages);
    pages += block.bytes / kTargetPageBytes;
  }
  if (pages > shadow_->page_count()) return PassThrough("its RAM is larger than its shadow");
  if (writer_.bytes().size() > kControlBytesMax) return PassThrough("its beginning is too long");
  mode_ = Mode::kPages;
  ByteOutput layout;
  layout.Be32(parser_.ram_section());
  layout.Be32(parser_.blocks().size());
  for (const RamBlock& block : parser_.blocks()) {
    layout.Str8(block.name);
    layout.Be64(block.bytes);
  }
  Frame(kControlLayout, layout.bytes.size());
  control_.Write(layout.bytes.data(), layout.bytes.size());
  Frame(kControlBytes, writer_.bytes().size());
  control_.Write(writer_.bytes().data(), writer_.bytes().size());
  writer_.bytes().clear();
  Emit("pages");
}

void Source::PassThrough(const std::string& why) {
  mode_ = Mode::kPassThrough;
  Emit("passThrough", why);
}

void Source::OnToken(const Token& token) {
  const bool begins = token.kind == TokenKind::kSectionPart || token.kind == TokenKind::kSectionEnd;
  if (mode_ == Mode::kUndecided && begins) Decide();
  // Shared memory is not in the stream, so there are no pages to take from it.
  if (mode_ == Mode::kUndecided && token.kind == TokenKind::kGuestAddress) {
    PassThrough("its memory is shared");
  }
  if (mode_ == Mode::kUndecided && token.kind == TokenKind::kOpaque) PassThrough(token.text);
  if (mode_ == Mode::kFailed) return;
  if (mode_ != Mode::kPages || ram_ended_) return writer_.OnToken(token);
  PageToken(token);
}

void Source::PageToken(const Token& token) {
  switch (token.kind) {
    case TokenKind::kSectionPart:
    case TokenKind::kSectionEnd:
    case TokenKind::kEndOfRecords:
      return;
    case TokenKind::kFooter:
      ram_ended_ = held_ = parser_.ram_ended();
      return;
    case TokenKind::kCommand:
      Frame(kControlBytes, 5 + token.payload_bytes);
      writer_.OnToken(token);
      control_.Write(writer_.bytes().data(), writer_.bytes().size());
      writer_.bytes().clear();
      return;
    case TokenKind::kZero:
      if (token.fill != 0) return Fail("a page of one byte that is not zero");
      return TakePage(first_pages_[token.block] + token.offset / kTargetPageBytes, true);
    case TokenKind::kPage:
      page_ = first_pages_[token.block] + token.offset / kTargetPageBytes;
      page_bytes_ = 0;
      in_page_ = true;
      return;
    default:
      // Pages are in the shadow already: there is no way back to passing through.
      return Fail(token.kind == TokenKind::kOpaque ? token.text : "a record that nobody asked for");
  }
}

void Source::OnBytes(const uint8_t* bytes, size_t count) {
  if (mode_ == Mode::kFailed) return;
  if (!in_page_) {
    if (mode_ == Mode::kPages && !ram_ended_) return control_.Write(bytes, count);
    return writer_.OnBytes(bytes, count);
  }
  std::memcpy(shadow_->page(page_) + page_bytes_, bytes, count);
  page_bytes_ += count;
  if (page_bytes_ < kPageBytes) return;
  in_page_ = false;
  TakePage(page_, false);
}

// The page is written: only now it may be sent, so that what is sent last is whole.
void Source::TakePage(uint64_t page, bool zero) {
  // A shadow begins as zeros, and so does its twin: such a page need not travel, nor be touched.
  const bool untouched = zero && !ever_.Has(page);
  if (zero && !untouched) std::memset(shadow_->page(page), 0, kPageBytes);
  std::lock_guard<std::mutex> lock(mutex_);
  (zero ? counters_.zero_pages : counters_.pages)++;
  if (untouched) {
    counters_.still_zero_pages++;
    return;
  }
  if (!ever_.Has(page)) {
    ever_.Add(page);
    counters_.shadow_pages++;
  }
  if (dirty_.Has(page)) return;
  dirty_.Add(page);
  counters_.dirty_pages++;
  if (!zero) dirty_with_bytes_++;
}

void Source::Fail(const std::string& message) {
  if (mode_ == Mode::kFailed) return;
  mode_ = Mode::kFailed;
  Emit("failed", message);
}

}  // namespace dwcp::qemu
