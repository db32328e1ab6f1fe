// What a peer said it holds, as the encoder asks for it: never changed once it stands, but for the
// count of refusals.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "cache/content_key.h"
#include "cache/content_summary.h"

namespace dwcp {

class PeerContents final : public ContentFilter {
 public:
  // Sorted here.
  PeerContents(std::shared_ptr<const ContentKey> key, std::vector<uint32_t> fingerprints);
  bool Holds(const uint8_t* bytes, PageDigest digest, ContentHash* hash) override;
  void Refused() override { refused_++; }

 private:
  bool Told(uint32_t fingerprint) const;

  std::shared_ptr<const ContentKey> key_;
  std::vector<uint32_t> fingerprints_;
  // A Bloom filter, one word to a fingerprint: every page is looked for, and a search through all
  // of them would cost more than its fingerprint.
  std::vector<uint64_t> bloom_;
  int shift_ = 31;
  std::atomic<uint64_t> named_{0};
  std::atomic<uint64_t> refused_{0};
};

}  // namespace dwcp
