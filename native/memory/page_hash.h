// Which pages of two hosts are equal, told by 16 bytes per page. GMAC as a keyed universal hash:
// two pages that differ agree with a chance below 2^-119 over the key, whatever is in them, as long
// as whoever wrote them did not know it. So the key is drawn for one exchange, after the pages were
// written, and leaves the two agents for nobody else.
#pragma once
#include <openssl/evp.h>

#include <cstddef>
#include <cstdint>

namespace dwcp {

constexpr size_t kPageHashBytes = 16;
constexpr size_t kPageHashKeyBytes = 16;

class PageHasher {
 public:
  explicit PageHasher(const uint8_t* key);
  ~PageHasher();
  PageHasher(const PageHasher&) = delete;
  PageHasher& operator=(const PageHasher&) = delete;
  void Hash(const uint8_t* page, uint8_t* out);

 private:
  EVP_CIPHER_CTX* context_;
};

}  // namespace dwcp
