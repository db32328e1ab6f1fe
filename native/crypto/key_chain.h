// The keys of one direction of a link. A key seals a bounded amount, then the next one follows from
// its secret, so a link may run for ever without a handshake. Both sides derive alike: the
// generation is part of every nonce.
#pragma once
#include "crypto/gcm.h"

namespace dwcp {

constexpr size_t kLinkSecretBytes = 32;

class KeyChain {
 public:
  KeyChain(const uint8_t* secret, size_t key_bytes);
  ~KeyChain();  // wipes
  KeyChain(const KeyChain&) = delete;
  KeyChain& operator=(const KeyChain&) = delete;

  // The key of generation 0 first, then of the one after it, and so on.
  SealKey Next();

 private:
  std::array<uint8_t, kLinkSecretBytes> secret_;
  size_t key_bytes_;
};

}  // namespace dwcp
