// What names contents among the hosts of one tenant. All of it follows from a secret of theirs:
// whoever lacks it can neither tell from a hash what a page is, nor make a page for a hash.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "codec/content.h"

namespace dwcp {

constexpr size_t kTenantBytes = 16;
constexpr size_t kContentSecretBytesMin = 32;

class ContentKey {
 public:
  ContentKey(const uint8_t* secret, size_t bytes);
  ~ContentKey();  // wipes
  ContentKey(const ContentKey&) = delete;
  ContentKey& operator=(const ContentKey&) = delete;

  // HMAC-SHA-256 of the page.
  ContentHash Hash(const uint8_t* page) const;
  // SipHash-2-4 of the digest that is computed anyway: good for a guess, cheap enough for every
  // page, and evenly spread.
  uint64_t Fingerprint(PageDigest digest) const;
  // Says whose a file is, and nothing of the secret.
  const std::array<uint8_t, kTenantBytes>& tenant() const { return tenant_; }

 private:
  std::array<uint8_t, 32> page_key_;
  std::array<uint64_t, 2> fingerprint_key_;
  std::array<uint8_t, kTenantBytes> tenant_;
};

}  // namespace dwcp
