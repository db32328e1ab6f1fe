#include "memory/dirty_tracker.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace dwcp {
namespace {

// Linux 6.7's uapi, which Debian 12's headers do not have yet.
struct PagemapRange {
  uint64_t start;
  uint64_t end;
  uint64_t categories;
};

struct PagemapScan {
  uint64_t size;
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;
  uint64_t ranges;
  uint64_t ranges_count;
  uint64_t pages_max;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_any_of;
  uint64_t return_mask;
};

constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScan);
constexpr uint64_t kWriteProtectMatching = 1 << 0;
constexpr uint64_t kCheckWriteProtectAsync = 1 << 1;
constexpr uint64_t kPageIsWritten = 1 << 1;
constexpr size_t kRangesPerCall = 1024;

class PagemapTracker : public DirtyTracker {
 public:
  PagemapTracker(pid_t pid, uint64_t address, std::shared_ptr<Region> region)
      : region_(std::move(region)), address_(address), ranges_(kRangesPerCall) {
    const std::string path = "/proc/" + std::to_string(pid) + "/pagemap";
    fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), path);
    // An empty probe tells whether this kernel knows the call and the range is registered.
    PagemapScan probe = Request(address_, address_ + kPageBytes);
    if (ioctl(fd_, kPagemapScan, &probe) < 0) {
      const int error = errno;
      close(fd_);
      throw std::system_error(error, std::generic_category(), "PAGEMAP_SCAN");
    }
  }

  ~PagemapTracker() override { close(fd_); }

  const char* backend() const override { return "pagemap-scan"; }

  uint64_t Scan(PageSet* into) override {
    const uint64_t written = ScanWritten(into);
    if (!is_first_) return written;
    is_first_ = false;
    into->AddAll();
    return region_->page_count();
  }

 private:
  PagemapScan Request(uint64_t start, uint64_t end) {
    PagemapScan scan{};
    scan.size = sizeof(scan);
    scan.flags = kWriteProtectMatching | kCheckWriteProtectAsync;
    scan.start = start;
    scan.end = end;
    scan.ranges = reinterpret_cast<uint64_t>(ranges_.data());
    scan.ranges_count = ranges_.size();
    scan.category_mask = kPageIsWritten;
    scan.return_mask = kPageIsWritten;
    return scan;
  }

  uint64_t ScanWritten(PageSet* into) {
    const uint64_t end = address_ + region_->size_bytes();
    uint64_t pages = 0;
    for (uint64_t start = address_; start < end;) {
      PagemapScan scan = Request(start, end);
      const int found = ioctl(fd_, kPagemapScan, &scan);
      if (found < 0) {
        if (errno == EINTR) continue;
        throw std::system_error(errno, std::generic_category(), "PAGEMAP_SCAN");
      }
      for (int index = 0; index < found; ++index) {
        const PagemapRange& range = ranges_[static_cast<size_t>(index)];
        const uint64_t count = (range.end - range.start) / kPageBytes;
        into->AddRange((range.start - address_) / kPageBytes, count);
        pages += count;
      }
      start = scan.walk_end;
    }
    return pages;
  }

  std::shared_ptr<Region> region_;
  uint64_t address_;
  std::vector<PagemapRange> ranges_;
  int fd_ = -1;
  bool is_first_ = true;
};

class RehashTracker : public DirtyTracker {
 public:
  explicit RehashTracker(std::shared_ptr<Region> region)
      : region_(std::move(region)), digests_(region_->page_count()) {}

  const char* backend() const override { return "rehash"; }

  uint64_t Scan(PageSet* into) override {
    uint64_t changed = 0;
    for (uint64_t page = 0; page < region_->page_count(); ++page) {
      const PageDigest digest = DigestPage(region_->page(page));
      if (!is_first_ && digest == digests_[page]) continue;
      digests_[page] = digest;
      into->Add(page);
      ++changed;
    }
    is_first_ = false;
    return changed;
  }

 private:
  std::shared_ptr<Region> region_;
  std::vector<PageDigest> digests_;
  bool is_first_ = true;
};

}  // namespace

std::unique_ptr<DirtyTracker> MakePagemapTracker(pid_t pid, uint64_t address,
                                                 std::shared_ptr<Region> region) {
  return std::make_unique<PagemapTracker>(pid, address, std::move(region));
}

std::unique_ptr<DirtyTracker> MakeRehashTracker(std::shared_ptr<Region> region) {
  return std::make_unique<RehashTracker>(std::move(region));
}

}  // namespace dwcp
