// Region: memory that can move. A memfd mapped shared, so that a file descriptor is enough to share
// it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace dwcp {

constexpr size_t kPageBytes = 4096;

class Region {
 public:
  // Throws std::system_error with errno. `huge_pages` asks for 2 MiB pages of the shmem kind
  // (madvise).
  static std::shared_ptr<Region> Create(const std::string& name, uint64_t size_bytes,
                                        bool huge_pages);
  // Maps `size_bytes` of `fd` from `offset_bytes`, shared and writable; duplicates `fd`.
  static std::shared_ptr<Region> Map(int fd, uint64_t size_bytes, uint64_t offset_bytes);

  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();

  uint8_t* data() const { return data_; }
  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t page_count() const { return size_bytes_ / kPageBytes; }
  uint8_t* page(uint64_t index) const { return data_ + index * kPageBytes; }
  int fd() const { return fd_; }

 private:
  Region(int fd, uint8_t* data, uint64_t size_bytes)
      : fd_(fd), data_(data), size_bytes_(size_bytes) {}

  int fd_;
  uint8_t* data_;
  uint64_t size_bytes_;
};

}  // namespace dwcp
