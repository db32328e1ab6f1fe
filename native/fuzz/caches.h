// The content caches of two engines, in directories that go with them.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "cache/content_filler.h"
#include "cache/content_store.h"

namespace dwcp {

// The content cache of one side. Small, so that contents come and go.
class Cache {
 public:
  explicit Cache(std::string folder)
      : folder_(std::move(folder)),
        store_(ContentStore::Open(folder_, kCacheBytes, Key())),
        filler_(store_) {}
  ~Cache() {
    filler_.Stop();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  const std::shared_ptr<ContentStore>& store() { return store_; }
  // Rounds go on meanwhile.
  void Keep(std::shared_ptr<Region> region) { filler_.Keep(std::move(region)); }
  uint64_t hits() { return store_->counters().hits; }

 private:
  static constexpr uint64_t kCacheBytes = 4u << 20;
  static std::shared_ptr<const ContentKey> Key() {
    static constexpr uint8_t secret[kContentSecretBytesMin] = {1};
    return std::make_shared<const ContentKey>(secret, sizeof secret);
  }
  std::string folder_;
  std::shared_ptr<ContentStore> store_;
  ContentFiller filler_;
};

struct Caches {
  Cache listening, dialling;
};

}  // namespace dwcp
