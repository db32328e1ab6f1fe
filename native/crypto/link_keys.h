// Both directions of one session of a link.
#pragma once
#include "crypto/opener.h"
#include "crypto/sealer.h"

namespace dwcp {

struct LinkKeys {
  LinkKeys(const uint8_t* send_secret, const uint8_t* receive_secret, size_t key_bytes,
           SealLimits limits = {})
      : key_bytes(key_bytes),
        sealer(send_secret, key_bytes, limits),
        opener(receive_secret, key_bytes) {}

  const size_t key_bytes;
  Sealer sealer;
  Opener opener;
};

}  // namespace dwcp
