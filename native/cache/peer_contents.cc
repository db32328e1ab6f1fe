#include "cache/peer_contents.h"

#include <algorithm>

namespace dwcp {
namespace {

// The peer may have thrown away what it told us of. From here on a quarter must hold.
constexpr uint64_t kRefusedGiven = 1024;

}  // namespace

PeerContents::PeerContents(std::shared_ptr<const ContentKey> key,
                           std::vector<uint32_t> fingerprints)
    : key_(std::move(key)), fingerprints_(std::move(fingerprints)) {
  std::sort(fingerprints_.begin(), fingerprints_.end());
}

bool PeerContents::Holds(const uint8_t* bytes, PageDigest digest, ContentHash* hash) {
  if (fingerprints_.empty()) return false;
  const uint32_t wanted = ShortFingerprint(key_->Fingerprint(digest));
  if (!std::binary_search(fingerprints_.begin(), fingerprints_.end(), wanted)) return false;
  if (refused_ > kRefusedGiven && refused_ > named_ / 4 * 3) return false;
  named_++;
  *hash = key_->Hash(bytes);
  return true;
}

}  // namespace dwcp
