// An extra connection of a migration with multifd: a hello, then packets of pages. From QEMU 9 on a
// packet also names zero pages; before that its field is zero. What a packet says about the length
// of its pages is stale when it has none.
#pragma once
#include "qemu/token_reader.h"

namespace dwcp::qemu {

class MultifdParser final : public TokenReader {
 public:
  using TokenReader::TokenReader;

 private:
  size_t Read(const uint8_t* bytes, size_t count) override;
  size_t ReadHello(FieldReader* in);
  size_t ReadState(uint32_t flags, FieldReader* in);

  bool greeted_ = false;
};

}  // namespace dwcp::qemu
