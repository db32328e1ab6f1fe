#include "qemu/target.h"

#include <errno.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "engine/local_socket.h"
#include "qemu/control_stream.h"
#include "qemu/stream_writer.h"

namespace dwcp::qemu {
namespace {

constexpr size_t kSectionPages = 128;
constexpr size_t kSectionZeroPages = 8192;
constexpr size_t kJobsMax = 64;

uint64_t NowUs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

PageDigest ZeroDigest() {
  alignas(64) static const uint8_t zeros[kPageBytes] = {};
  static const PageDigest digest = DigestPage(zeros);
  return digest;
}

}  // namespace

Target::Target(Notify notify, std::shared_ptr<Region> staging, PageDigest* fed,
               std::string listen_path, const std::string& qemu_path)
    : Relay(std::move(notify)),
      staging_(std::move(staging)),
      fed_(fed),
      listen_path_(std::move(listen_path)),
      piece_(kPieceBytes) {
  const int qemu_fd = ConnectLocal(qemu_path);
  if (qemu_fd < 0) throw std::system_error(-qemu_fd, std::generic_category(), qemu_path);
  qemu_.Adopt(qemu_fd);
  listen_fd_ = ListenLocal(listen_path_);
  if (listen_fd_ < 0) throw std::system_error(-listen_fd_, std::generic_category(), listen_path_);
  Start();
}

Target::~Target() {
  Stop();
  if (listen_fd_ >= 0) {
    close(listen_fd_);
    unlink(listen_path_.c_str());
  }
}

void Target::Feed(std::vector<uint32_t> pages, std::vector<uint32_t> zeros) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    // They are not marked as fed: their turn comes again, at the end at last.
    if (ram_ended_ || jobs_.size() >= kJobsMax) return;
    Job job;
    const auto beyond = [this](uint32_t page) { return page >= counters_.pages; };
    pages.erase(std::remove_if(pages.begin(), pages.end(), beyond), pages.end());
    zeros.erase(std::remove_if(zeros.begin(), zeros.end(), beyond), zeros.end());
    counters_.queued_pages += pages.size() + zeros.size();
    job.pages = std::move(pages);
    job.zeros = std::move(zeros);
    jobs_.push_back(std::move(job));
  }
  Wake();
}

void Target::Finish(std::vector<uint32_t> pages, std::vector<uint32_t> zeros) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Job job;
    job.pages = std::move(pages);
    job.zeros = std::move(zeros);
    job.last = true;
    counters_.queued_pages += job.pages.size() + job.zeros.size();
    jobs_.push_back(std::move(job));
  }
  Wake();
}

TargetCounters Target::counters() {
  std::lock_guard<std::mutex> lock(mutex_);
  return counters_;
}

bool Target::MayReadControl() {
  if (control_ended_ || !qemu_.open() || qemu_.full() || later_.size() >= kQueuedBytesMax) {
    return false;
  }
  return mode_ != Mode::kAwaitFinish && mode_ != Mode::kFailed;
}

void Target::Prepare(std::vector<pollfd>* wanted) {
  Generate();
  if (qemu_.open() && !qemu_.Flush()) {
    qemu_.Close();
    control_.Close();
  }
  if (busy_since_us_ > 0 && qemu_.queued_bytes() == 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    counters_.busy_us += NowUs() - busy_since_us_;
    busy_since_us_ = 0;
  }
  if (control_.open() && !control_.Flush()) control_.Close();
  if (listen_fd_ >= 0) wanted->push_back({listen_fd_, POLLIN, 0});
  if (control_.open()) {
    short events = MayReadControl() ? POLLIN : 0;
    if (control_.queued_bytes() > 0) events |= POLLOUT;
    if (events != 0) wanted->push_back({control_.fd(), events, 0});
  }
  if (qemu_.open()) {
    short events = control_.open() && !control_.full() ? POLLIN : 0;
    if (qemu_.queued_bytes() > 0 || HasMore()) events |= POLLOUT;
    if (events != 0) wanted->push_back({qemu_.fd(), events, 0});
  }
}

void Target::Turn(const std::vector<pollfd>& ready) {
  if (EventsOf(ready, listen_fd_) != 0) {
    int error = 0;
    const int fd = AcceptOnce(&listen_fd_, listen_path_, &error);
    if (fd >= 0) control_.Adopt(fd);
    if (error != 0) Fail("the carried stream could not be accepted");
  }
  if ((EventsOf(ready, qemu_.fd()) & (POLLIN | POLLHUP | POLLERR)) != 0 && control_.open()) {
    const ssize_t got = qemu_.Read(piece_.data(), piece_.size());
    if (got > 0) control_.Write(piece_.data(), static_cast<size_t>(got));
    if (got < 0) {
      // The carried stream's end hears that QEMU closed its side, behind what it said.
      control_.EndAfterQueue();
      qemu_.Close();
    }
  }
  if (EventsOf(ready, control_.fd()) != 0 && MayReadControl()) ReadControl();
}

void Target::ReadControl() {
  const ssize_t got = control_.Read(piece_.data(), piece_.size());
  if (got < 0) {
    control_ended_ = true;
    qemu_.EndAfterQueue();
    return;
  }
  if (got == 0) return;
  if (mode_ == Mode::kUndecided) {
    mode_ = piece_[0] == kPassThrough ? Mode::kPassThrough : Mode::kControl;
    if (mode_ == Mode::kPassThrough) Emit("passThrough");
  }
  if (mode_ == Mode::kPassThrough || mode_ == Mode::kDevices) {
    qemu_.Write(piece_.data(), static_cast<size_t>(got));
    return;
  }
  unread_.insert(unread_.end(), piece_.begin(), piece_.begin() + got);
  while (ReadFrame()) {
  }
}

// False when there is no whole frame, or none may be read now.
bool Target::ReadFrame() {
  if (mode_ != Mode::kControl) return false;
  FieldReader in(unread_.data(), unread_.size());
  const uint8_t type = in.U8();
  const uint32_t count = in.Be32();
  if (!in.complete()) return false;
  if (count > kControlBytesMax + kControlHeaderBytes) {
    Fail("a frame of impossible length");
    return false;
  }
  const uint8_t* bytes = in.Take(count);
  if (bytes == nullptr) return false;
  const bool has_layout = !blocks_.empty();
  if (type == kControlLayout && !has_layout) {
    if (!ReadLayout(bytes, count)) Fail("an impossible layout of RAM");
  } else if (type == kControlBytes && has_layout) {
    later_.insert(later_.end(), bytes, bytes + count);
  } else if (type == kControlRound && has_layout) {
    Emit("round");
  } else if (type == kControlRamEnded && has_layout) {
    // What is queued is left to the last job, which is chosen once nothing is under way.
    std::lock_guard<std::mutex> lock(mutex_);
    jobs_.clear();
    counters_.queued_pages = 0;
    ram_ended_ = true;
    mode_ = Mode::kAwaitFinish;
    Emit("ramEnded");
  } else {
    Fail("a frame that does not belong there");
  }
  unread_.erase(unread_.begin(), unread_.begin() + kControlHeaderBytes + count);
  return mode_ == Mode::kControl;
}

bool Target::ReadLayout(const uint8_t* bytes, size_t count) {
  FieldReader in(bytes, count);
  ram_section_ = in.Be32();
  const uint32_t blocks = in.Be32();
  if (blocks == 0 || blocks > kRamBlocksMax) return false;
  uint64_t pages = 0;
  for (uint32_t i = 0; i < blocks; i++) {
    RamBlock block;
    block.name = in.Str8();
    block.bytes = in.Be64();
    if (!in.complete() || block.bytes == 0 || block.bytes > kRamBytesMax ||
        block.bytes % kTargetPageBytes != 0) {
      return false;
    }
    first_pages_.push_back(pages);
    pages += block.bytes / kTargetPageBytes;
    blocks_.push_back(std::move(block));
  }
  if (in.used() != count || pages > staging_->page_count()) return false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    counters_.pages = pages;
  }
  Emit("pages");
  return true;
}

// The next piece of what QEMU gets, once it took the last.
void Target::Generate() {
  if (!qemu_.open() || mode_ == Mode::kFailed || mode_ == Mode::kPassThrough) return;
  while (qemu_.queued_bytes() == 0) {
    if (!later_.empty()) {
      qemu_.Write(later_.data(), later_.size());
      later_.clear();
      return;
    }
    Job job;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    if (!job.done()) {
      if (busy_since_us_ == 0) busy_since_us_ = NowUs();
      WriteSection(&job);
    }
    if (job.done() && job.last) {
      EndSection();
      mode_ = Mode::kDevices;
      qemu_.Write(unread_.data(), unread_.size());
      unread_.clear();
      return;
    }
    if (job.done()) {
      Emit("fed");
      continue;
    }
    std::lock_guard<std::mutex> lock(mutex_);
    jobs_.push_front(std::move(job));
    return;
  }
}

// What is never written must not be waited for: a socket is always ready for nothing.
bool Target::HasMore() {
  if (mode_ == Mode::kFailed || mode_ == Mode::kPassThrough) return false;
  if (!later_.empty()) return true;
  std::lock_guard<std::mutex> lock(mutex_);
  return !jobs_.empty();
}

void Target::WriteSection(Job* job) {
  ByteOutput head;
  head.U8(kTypeSectionPart);
  head.Be32(ram_section_);
  qemu_.Write(head.bytes.data(), head.bytes.size());
  size_t block = 0;
  const size_t zero_from = job->next_zero;
  const size_t zero_to = std::min(job->zeros.size(), zero_from + kSectionZeroPages);
  for (size_t i = zero_from; i < zero_to; i++) WriteRecord(job->zeros[i], true, &block);
  job->next_zero = zero_to;
  block = 0;
  const size_t from = job->next;
  const size_t to = std::min(job->pages.size(), from + kSectionPages);
  for (size_t i = from; i < to; i++) WriteRecord(job->pages[i], false, &block);
  job->next = to;
  ByteOutput foot;
  foot.Be64(kFlagEndOfRecords);
  foot.U8(kTypeFooter);
  foot.Be32(ram_section_);
  qemu_.Write(foot.bytes.data(), foot.bytes.size());
  std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t zeros = zero_to - zero_from;
  const uint64_t pages = to - from;
  counters_.fed_zero_pages += zeros;
  counters_.fed_pages += pages;
  counters_.queued_pages -= std::min(counters_.queued_pages, zeros + pages);
}

// `block` is where the one before was found: pages mostly ascend.
void Target::WriteRecord(uint64_t page, bool zero, size_t* block) {
  size_t at = *block;
  if (page < first_pages_[at]) at = 0;
  while (page - first_pages_[at] >= blocks_[at].bytes / kTargetPageBytes) {
    if (++at == blocks_.size()) return;
  }
  *block = at;
  const bool named = named_block_ != static_cast<int>(at);
  named_block_ = static_cast<int>(at);
  const uint64_t offset = (page - first_pages_[at]) * kTargetPageBytes;
  ByteOutput record;
  record.Be64(offset | (zero ? kFlagZero : kFlagPage) | (named ? 0 : kFlagContinue));
  if (named) record.Str8(blocks_[at].name);
  if (zero) record.U8(0);
  qemu_.Write(record.bytes.data(), record.bytes.size());
  if (zero) {
    fed_[page] = ZeroDigest();
    return;
  }
  std::vector<uint8_t>& queue = qemu_.queue();
  queue.resize(queue.size() + kPageBytes);
  // Of what was copied: should the page be landing right now, this differs from what landed.
  fed_[page] = CopyPageWithDigest(queue.data() + queue.size() - kPageBytes, staging_->page(page));
}

void Target::EndSection() {
  ByteOutput end;
  end.U8(kTypeSectionEnd);
  end.Be32(ram_section_);
  end.Be64(kFlagEndOfRecords);
  end.U8(kTypeFooter);
  end.Be32(ram_section_);
  qemu_.Write(end.bytes.data(), end.bytes.size());
}

void Target::Fail(const std::string& message) {
  mode_ = Mode::kFailed;
  Emit("failed", message);
}

}  // namespace dwcp::qemu
