#include "crypto/gcm.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace dwcp {
namespace {

// With lengths and keys of ours these calls have no reason to fail: one that does has no memory, or
// is a bug, and going on could mean to send what was not sealed.
void Require(int result) {
  if (result == 1) return;
  std::fputs("dwcp: OpenSSL refused an AES-GCM operation\n", stderr);
  std::abort();
}

}  // namespace

SealKey::~SealKey() { OPENSSL_cleanse(bytes.data(), bytes.size()); }

GcmContext::GcmContext() : context_(EVP_CIPHER_CTX_new()) { Require(context_ != nullptr ? 1 : 0); }

GcmContext::~GcmContext() { EVP_CIPHER_CTX_free(context_); }

void GcmContext::SetKey(const SealKey& key, bool for_sealing) {
  const EVP_CIPHER* cipher = key.size == 32 ? EVP_aes_256_gcm() : EVP_aes_128_gcm();
  for_sealing_ = for_sealing;
  Require(
      EVP_CipherInit_ex(context_, cipher, nullptr, key.bytes.data(), nullptr, for_sealing ? 1 : 0));
}

void GcmContext::Update(const SealPart& part, bool is_text) {
  if (part.size == 0) return;
  int written = 0;
  Require(EVP_CipherUpdate(context_, is_text ? part.data : nullptr, &written, part.data,
                           static_cast<int>(part.size)));
}

void GcmContext::Seal(const uint8_t* nonce, const SealPart& associated, const SealPart* parts,
                      size_t count, uint8_t* tag) {
  Require(EVP_CipherInit_ex(context_, nullptr, nullptr, nullptr, nonce, -1));
  Update(associated, false);
  for (size_t i = 0; i < count; i++) Update(parts[i], true);
  int written = 0;
  Require(EVP_CipherFinal_ex(context_, tag, &written));
  Require(EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_GCM_GET_TAG, kSealTagBytes, tag));
}

bool GcmContext::Open(const uint8_t* nonce, const SealPart& associated, const SealPart* parts,
                      size_t count, const uint8_t* tag) {
  uint8_t wanted[kSealTagBytes];
  std::memcpy(wanted, tag, sizeof wanted);
  Require(EVP_CipherInit_ex(context_, nullptr, nullptr, nullptr, nonce, -1));
  Update(associated, false);
  for (size_t i = 0; i < count; i++) Update(parts[i], true);
  Require(EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_GCM_SET_TAG, kSealTagBytes, wanted));
  uint8_t none[kSealTagBytes];
  int written = 0;
  return EVP_CipherFinal_ex(context_, none, &written) == 1;
}

void HmacSha256(const uint8_t* key, size_t key_bytes, const char* label, uint8_t* out) {
  unsigned int size = 0;
  const unsigned char* done =
      HMAC(EVP_sha256(), key, static_cast<int>(key_bytes),
           reinterpret_cast<const unsigned char*>(label), std::strlen(label), out, &size);
  Require(done != nullptr && size == 32 ? 1 : 0);
}

}  // namespace dwcp
