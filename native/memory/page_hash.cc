#include "memory/page_hash.h"

#include <cerrno>
#include <new>
#include <system_error>

#include "memory/region.h"

namespace dwcp {
namespace {

void Require(int result) {
  if (result == 1) return;
  throw std::system_error(ENOTSUP, std::generic_category(), "OpenSSL refused to hash a page");
}

}  // namespace

PageHasher::PageHasher(const uint8_t* key) : context_(EVP_CIPHER_CTX_new()) {
  if (context_ == nullptr) throw std::bad_alloc();
  Require(EVP_EncryptInit_ex(context_, EVP_aes_128_gcm(), nullptr, key, nullptr));
}

PageHasher::~PageHasher() { EVP_CIPHER_CTX_free(context_); }

void PageHasher::Hash(const uint8_t* page, uint8_t* out) {
  // One nonce for all: nothing is authenticated to anybody, equal pages have to look equal.
  static constexpr uint8_t nonce[12] = {};
  int written = 0;
  Require(EVP_EncryptInit_ex(context_, nullptr, nullptr, nullptr, nonce));
  Require(EVP_EncryptUpdate(context_, nullptr, &written, page, kPageBytes));
  Require(EVP_EncryptFinal_ex(context_, out, &written));
  Require(EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_GCM_GET_TAG, kPageHashBytes, out));
}

}  // namespace dwcp
