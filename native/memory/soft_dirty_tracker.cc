// The kernel's soft-dirty bits (CONFIG_MEM_SOFT_DIRTY, Linux 3.11): clear_refs write-protects all
// of a process, and pagemap says of each page whether it was written since.
//
// To read and to clear are two steps, so the process is held in between, or a write would be lost.
// The bits belong to the whole process: one tracker per process. A mapping that is new, or was
// merged with one, reads as written, which only costs a page sent twice. A page that the process
// has not mapped has no bit, and loses one it had when the kernel takes a page of shared memory
// from it (to swap it out, to make a huge page): those are looked at by digest.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>

#include "memory/dirty_tracker.h"
#include "memory/process_hold.h"
#include "memory/tracking_probe.h"

namespace dwcp {
namespace {

constexpr uint64_t kSoftDirty = uint64_t{1} << 55;
constexpr uint64_t kPresent = uint64_t{1} << 63;
constexpr size_t kEntriesPerRead = 8192;
constexpr char kClearSoftDirty[] = {'4'};

class File {
 public:
  File(pid_t pid, const char* name, int flags) {
    const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
    fd_ = open(path.c_str(), flags | O_CLOEXEC);
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), path);
  }
  ~File() { close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

class SoftDirtyTracker : public DirtyTracker {
 public:
  SoftDirtyTracker(pid_t pid, uint64_t address, std::shared_ptr<Region> region)
      : region_(std::move(region)),
        pid_(pid),
        first_entry_(address / kPageBytes),
        pagemap_(pid, "pagemap", O_RDONLY),
        clear_refs_(pid, "clear_refs", O_WRONLY),
        entries_(kEntriesPerRead),
        unmapped_(region_->page_count()),
        hashed_(region_->page_count()),
        digests_(region_->page_count()) {
    Hold();
  }

  const char* backend() const override { return "soft-dirty"; }

  uint64_t Scan(PageSet* into) override {
    PageSet written(region_->page_count());
    unmapped_.Clear();
    {
      const std::optional<ProcessHold> hold = Hold();
      ReadBits(&written);
      ClearBits();
    }
    // From here on a write has its bit, so what a digest is taken of may be changing.
    CompareUnmapped(&written);
    if (is_first_) written.AddAll();
    is_first_ = false;
    into->Union(written);
    return written.Size();
  }

 private:
  // Of our own process the caller sees to it that nobody writes; a stopped one stays as it is, so
  // that whoever stopped it sees no change.
  std::optional<ProcessHold> Hold() const {
    if (pid_ == getpid() || IsStopped(pid_)) return std::nullopt;
    return std::optional<ProcessHold>(std::in_place, pid_);
  }

  void ReadBits(PageSet* written) {
    const uint64_t pages = region_->page_count();
    for (uint64_t page = 0; page < pages;) {
      const size_t wanted = std::min<uint64_t>(kEntriesPerRead, pages - page) * sizeof(uint64_t);
      const auto at = static_cast<off_t>((first_entry_ + page) * sizeof(uint64_t));
      const ssize_t got = pread(pagemap_.fd(), entries_.data(), wanted, at);
      if (got < 0 && errno == EINTR) continue;
      if (got < static_cast<ssize_t>(sizeof(uint64_t))) {
        throw std::system_error(got < 0 ? errno : ESRCH, std::generic_category(), "pagemap");
      }
      const size_t entries = static_cast<size_t>(got) / sizeof(uint64_t);
      for (size_t index = 0; index < entries; ++index, ++page) {
        if ((entries_[index] & kSoftDirty) != 0) written->Add(page);
        if ((entries_[index] & kPresent) == 0) unmapped_.Add(page);
      }
    }
  }

  void ClearBits() {
    for (;;) {
      if (pwrite(clear_refs_.fd(), kClearSoftDirty, sizeof kClearSoftDirty, 0) > 0) return;
      if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "clear_refs");
    }
  }

  // One that was mapped before has no digest to compare with, and counts as written.
  void CompareUnmapped(PageSet* written) {
    const uint64_t pages = region_->page_count();
    for (uint64_t page = unmapped_.Next(0); page < pages; page = unmapped_.Next(page + 1)) {
      const PageDigest digest = DigestPage(region_->page(page));
      if (!hashed_.Has(page) || digest != digests_[page]) written->Add(page);
      digests_[page] = digest;
    }
    hashed_.Clear();
    hashed_.Union(unmapped_);
  }

  std::shared_ptr<Region> region_;
  pid_t pid_;
  uint64_t first_entry_;
  File pagemap_;
  File clear_refs_;
  std::vector<uint64_t> entries_;
  PageSet unmapped_;
  // Which digests are of the last scan.
  PageSet hashed_;
  std::vector<PageDigest> digests_;
  bool is_first_ = true;
};

std::once_flag tried;

}  // namespace

std::unique_ptr<DirtyTracker> MakeUntriedSoftDirtyTracker(pid_t pid, uint64_t address,
                                                          std::shared_ptr<Region> region) {
  return std::make_unique<SoftDirtyTracker>(pid, address, std::move(region));
}

std::unique_ptr<DirtyTracker> MakeSoftDirtyTracker(pid_t pid, uint64_t address,
                                                   std::shared_ptr<Region> region) {
  std::call_once(tried, ProbeSoftDirty);
  return MakeUntriedSoftDirtyTracker(pid, address, std::move(region));
}

}  // namespace dwcp
