#include "cache/peer_contents.h"

#include <algorithm>

namespace dwcp {
namespace {

// The peer may have thrown away what it told us of. From here on a quarter must hold.
constexpr uint64_t kRefusedGiven = 1024;
// About so many begin alike, as fingerprints are spread evenly.
constexpr size_t kAlike = 4;

}  // namespace

PeerContents::PeerContents(std::shared_ptr<const ContentKey> key,
                           std::vector<uint32_t> fingerprints)
    : key_(std::move(key)), fingerprints_(std::move(fingerprints)) {
  std::sort(fingerprints_.begin(), fingerprints_.end());
  int bits = 0;
  while (bits < 24 && (kAlike << bits) < fingerprints_.size()) bits++;
  shift_ = 32 - bits;
  starts_.assign((size_t{1} << bits) + 1, 0);
  for (const uint32_t fingerprint : fingerprints_) starts_[(uint64_t{fingerprint} >> shift_) + 1]++;
  for (size_t i = 1; i < starts_.size(); i++) starts_[i] += starts_[i - 1];
}

// Within one start they are searched: a peer may say what it likes.
bool PeerContents::Told(uint32_t fingerprint) const {
  const uint64_t start = uint64_t{fingerprint} >> shift_;
  return std::binary_search(fingerprints_.begin() + starts_[start],
                            fingerprints_.begin() + starts_[start + 1], fingerprint);
}

bool PeerContents::Holds(const uint8_t* bytes, PageDigest digest, ContentHash* hash) {
  if (fingerprints_.empty()) return false;
  const uint32_t wanted = ShortFingerprint(key_->Fingerprint(digest));
  if (!Told(wanted)) return false;
  if (refused_ > kRefusedGiven && refused_ > named_ / 4 * 3) return false;
  named_++;
  *hash = key_->Hash(bytes);
  return true;
}

}  // namespace dwcp
