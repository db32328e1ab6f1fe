#include "cache/peer_contents.h"

#include <algorithm>

namespace dwcp {
namespace {

// The peer may have thrown away what it told us of. From here on a quarter must hold.
constexpr uint64_t kRefusedGiven = 1024;
// Of two bits each: one in twenty that the peer lacks is searched for all the same.
constexpr size_t kPerWord = 8;
constexpr int kWordBitsMax = 20;

uint64_t BitsOf(uint32_t fingerprint) {
  return uint64_t{1} << fingerprint % 64 | uint64_t{1} << (fingerprint >> 6) % 64;
}

}  // namespace

PeerContents::PeerContents(std::shared_ptr<const ContentKey> key,
                           std::vector<uint32_t> fingerprints)
    : key_(std::move(key)), fingerprints_(std::move(fingerprints)) {
  std::sort(fingerprints_.begin(), fingerprints_.end());
  int bits = 1;
  while (bits < kWordBitsMax && (kPerWord << bits) < fingerprints_.size()) bits++;
  shift_ = 32 - bits;
  bloom_.assign(size_t{1} << bits, 0);
  for (const uint32_t fingerprint : fingerprints_) {
    bloom_[fingerprint >> shift_] |= BitsOf(fingerprint);
  }
}

bool PeerContents::Told(uint32_t fingerprint) const {
  const uint64_t wanted = BitsOf(fingerprint);
  if ((bloom_[fingerprint >> shift_] & wanted) != wanted) return false;
  return std::binary_search(fingerprints_.begin(), fingerprints_.end(), fingerprint);
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
