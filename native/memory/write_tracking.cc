#include "memory/write_tracking.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace dwcp {
namespace {

// Debian 12's headers are older than these (Linux 6.7).
constexpr uint64_t kFeatureWpHugetlbfsShmem = 1 << 12;
constexpr uint64_t kFeatureWpUnpopulated = 1 << 13;
constexpr uint64_t kFeatureWpAsync = 1 << 15;
constexpr int kUserModeOnly = 1;

[[noreturn]] void Refused(const char* step) {
  throw std::system_error(errno, std::generic_category(), step);
}

[[noreturn]] void CloseAndRefuse(int fd, const char* step) {
  const int error = errno;
  close(fd);
  errno = error;
  Refused(step);
}

}  // namespace

int TrackWrites(uint8_t* memory, uint64_t size_bytes) {
  auto fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
  if (fd < 0) {
    fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly));
  }
  if (fd < 0) Refused("userfaultfd");
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kFeatureWpAsync | kFeatureWpUnpopulated | kFeatureWpHugetlbfsShmem;
  if (ioctl(fd, UFFDIO_API, &api) < 0) CloseAndRefuse(fd, "UFFD_FEATURE_WP_ASYNC");
  uffdio_register range{};
  range.range = {reinterpret_cast<uint64_t>(memory), size_bytes};
  range.mode = UFFDIO_REGISTER_MODE_WP;
  if (ioctl(fd, UFFDIO_REGISTER, &range) < 0) CloseAndRefuse(fd, "UFFDIO_REGISTER");
  return fd;
}

}  // namespace dwcp
