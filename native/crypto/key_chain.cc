#include "crypto/key_chain.h"

#include <openssl/crypto.h>

#include <cstring>

namespace dwcp {

KeyChain::KeyChain(const uint8_t* secret, size_t key_bytes) : key_bytes_(key_bytes) {
  std::memcpy(secret_.data(), secret, secret_.size());
}

KeyChain::~KeyChain() { OPENSSL_cleanse(secret_.data(), secret_.size()); }

SealKey KeyChain::Next() {
  SealKey key;
  key.size = key_bytes_;
  HmacSha256(secret_.data(), secret_.size(), "dwcp key", key.bytes.data());
  std::array<uint8_t, kLinkSecretBytes> next;
  HmacSha256(secret_.data(), secret_.size(), "dwcp next secret", next.data());
  secret_ = next;
  OPENSSL_cleanse(next.data(), next.size());
  return key;
}

}  // namespace dwcp
