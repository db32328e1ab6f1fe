#include "memory/region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace dwcp {

namespace {

[[noreturn]] void ThrowErrno(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

void RequireWholePages(uint64_t size_bytes, uint64_t offset_bytes) {
  if (size_bytes == 0 || size_bytes % kPageBytes != 0 || offset_bytes % kPageBytes != 0) {
    ThrowErrno(EINVAL, "a region is a whole number of pages");
  }
}

uint8_t* MapShared(int fd, uint64_t size_bytes, uint64_t offset_bytes) {
  void* data = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                    static_cast<off_t>(offset_bytes));
  return data == MAP_FAILED ? nullptr : static_cast<uint8_t*>(data);
}

}  // namespace

std::shared_ptr<Region> Region::Create(const std::string& name, uint64_t size_bytes,
                                       bool huge_pages) {
  RequireWholePages(size_bytes, 0);
  const int fd = memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) ThrowErrno(errno, "memfd_create");
  if (ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) {
    const int error = errno;
    close(fd);
    ThrowErrno(error, "ftruncate of the memfd");
  }
  uint8_t* data = MapShared(fd, size_bytes, 0);
  if (data == nullptr) {
    const int error = errno;
    close(fd);
    ThrowErrno(error, "mmap of the memfd");
  }
  // A wish, not a need: kernels with shmem huge pages switched off say EINVAL.
  if (huge_pages) (void)madvise(data, size_bytes, MADV_HUGEPAGE);
  return std::shared_ptr<Region>(new Region(fd, data, size_bytes));
}

std::shared_ptr<Region> Region::Map(int fd, uint64_t size_bytes, uint64_t offset_bytes) {
  RequireWholePages(size_bytes, offset_bytes);
  const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) ThrowErrno(errno, "dup of the region's descriptor");
  // Past the end of the file a touch would be SIGBUS: refuse it here.
  const off_t end = lseek(own, 0, SEEK_END);
  if (end < 0 || static_cast<uint64_t>(end) < offset_bytes + size_bytes) {
    close(own);
    ThrowErrno(EINVAL, "the region's descriptor is shorter than the region");
  }
  uint8_t* data = MapShared(own, size_bytes, offset_bytes);
  if (data == nullptr) {
    const int error = errno;
    close(own);
    ThrowErrno(error, "mmap of the region's descriptor");
  }
  return std::shared_ptr<Region>(new Region(own, data, size_bytes));
}

Region::~Region() {
  munmap(data_, size_bytes_);
  close(fd_);
}

}  // namespace dwcp
