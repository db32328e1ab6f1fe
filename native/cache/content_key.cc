#include "cache/content_key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstring>

#include "crypto/gcm.h"
#include "memory/region.h"

namespace dwcp {
namespace {

uint64_t Rotated(uint64_t word, int bits) { return word << bits | word >> (64 - bits); }

void SipRound(uint64_t* v) {
  v[0] += v[1];
  v[1] = Rotated(v[1], 13) ^ v[0];
  v[0] = Rotated(v[0], 32);
  v[2] += v[3];
  v[3] = Rotated(v[3], 16) ^ v[2];
  v[0] += v[3];
  v[3] = Rotated(v[3], 21) ^ v[0];
  v[2] += v[1];
  v[1] = Rotated(v[1], 17) ^ v[2];
  v[2] = Rotated(v[2], 32);
}

}  // namespace

ContentKey::ContentKey(const uint8_t* secret, size_t bytes) {
  uint8_t derived[32];
  HmacSha256(secret, bytes, "dwcp content page", page_key_.data());
  HmacSha256(secret, bytes, "dwcp content fingerprint", derived);
  std::memcpy(fingerprint_key_.data(), derived, sizeof fingerprint_key_);
  HmacSha256(secret, bytes, "dwcp content tenant", derived);
  std::memcpy(tenant_.data(), derived, tenant_.size());
  OPENSSL_cleanse(derived, sizeof derived);
}

ContentKey::~ContentKey() {
  OPENSSL_cleanse(page_key_.data(), page_key_.size());
  OPENSSL_cleanse(fingerprint_key_.data(), sizeof fingerprint_key_);
}

ContentHash ContentKey::Hash(const uint8_t* page) const {
  ContentHash hash{};
  unsigned int size = 0;
  HMAC(EVP_sha256(), page_key_.data(), static_cast<int>(page_key_.size()), page, kPageBytes,
       hash.data(), &size);
  return hash;
}

uint64_t ContentKey::Fingerprint(PageDigest digest) const {
  const uint64_t k0 = fingerprint_key_[0];
  const uint64_t k1 = fingerprint_key_[1];
  uint64_t v[4] = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u,
                   k1 ^ 0x7465646279746573u};
  // The digest is one word; the last word of any message of eight bytes is its length.
  for (const uint64_t word : {uint64_t{digest}, uint64_t{8} << 56}) {
    v[3] ^= word;
    SipRound(v);
    SipRound(v);
    v[0] ^= word;
  }
  v[2] ^= 0xff;
  for (int i = 0; i < 4; i++) SipRound(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

}  // namespace dwcp
