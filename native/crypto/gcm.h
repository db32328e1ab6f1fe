// AES-GCM over OpenSSL's EVP, and keys that do not outlive their use.
//
// Which OpenSSL: the addon is compiled against the headers that Node ships and linked with nothing,
// so its EVP calls resolve to the very library inside (or behind) the running Node. Linking
// Debian's libcrypto as well would put two copies into one process, and which of them answers would
// be up to the dynamic linker. Programs of their own (fuzzers, benches) have no Node around them
// and take libssl-dev. Only functions that every OpenSSL since 1.1 and BoringSSL have are used.
#pragma once
#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace dwcp {

constexpr size_t kNonceBytes = 12;
constexpr size_t kSealTagBytes = 16;

struct SealKey {
  SealKey() = default;
  SealKey(const SealKey&) = default;
  SealKey& operator=(const SealKey&) = default;
  ~SealKey();  // wipes

  std::array<uint8_t, 32> bytes{};
  size_t size = 0;  // 16 or 32
};

struct SealPart {
  uint8_t* data;
  size_t size;
};

// One direction of one key, set up once and used for many frames. Not for two threads at a time.
class GcmContext {
 public:
  GcmContext();
  ~GcmContext();  // OpenSSL wipes the key schedule
  GcmContext(const GcmContext&) = delete;
  GcmContext& operator=(const GcmContext&) = delete;

  void SetKey(const SealKey& key, bool for_sealing);
  // In place, part after part as if they were one text.
  void Seal(const uint8_t* nonce, const SealPart& associated, const SealPart* parts, size_t count,
            uint8_t* tag);
  // False when the tag does not hold; the parts are garbage then.
  bool Open(const uint8_t* nonce, const SealPart& associated, const SealPart* parts, size_t count,
            const uint8_t* tag);

 private:
  void Update(const SealPart& part, bool is_text);

  EVP_CIPHER_CTX* context_;
  bool for_sealing_ = false;
};

// HMAC-SHA-256 of a label: what keys are derived with.
void HmacSha256(const uint8_t* key, size_t key_bytes, const char* label, uint8_t* out);

}  // namespace dwcp
