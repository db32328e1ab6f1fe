// Both sides of a content cache in memory, for tests: the filter believes in contents that the
// source may have forgotten.
#pragma once
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "codec/content.h"
#include "memory/region.h"

namespace dwcp {

class MemoryContent final : public ContentSource, public ContentFilter {
 public:
  bool Read(const ContentHash& hash, uint8_t* out) override {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = pages_.find(hash);
    if (found == pages_.end()) return false;
    std::memcpy(out, found->second.data(), kPageBytes);
    served++;
    return true;
  }
  void Landed(const uint8_t*, PageDigest) override { landed++; }
  bool Holds(const uint8_t*, PageDigest digest, ContentHash* hash) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (believed_.count(digest) == 0) return false;
    *hash = HashOf(digest);
    return true;
  }
  void Refused() override { refused++; }
  // `really`: else only the filter hears of it.
  void Learn(const uint8_t* page, bool really) {
    std::lock_guard<std::mutex> lock(mutex_);
    const PageDigest digest = DigestPage(page);
    believed_.insert(digest);
    if (really) pages_[HashOf(digest)] = std::vector<uint8_t>(page, page + kPageBytes);
  }
  std::atomic<uint64_t> served{0}, landed{0}, refused{0};

 private:
  static ContentHash HashOf(PageDigest digest) {
    ContentHash hash{};
    std::memcpy(hash.data(), &digest, sizeof digest);
    return hash;
  }
  std::mutex mutex_;
  std::set<PageDigest> believed_;
  std::map<ContentHash, std::vector<uint8_t>> pages_;
};

}  // namespace dwcp
