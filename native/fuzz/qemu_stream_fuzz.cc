// libFuzzer: whatever comes, written again from its tokens it is the same stream, however its bytes
// were cut; and every token is within the bounds that it claims. See scripts/sanitize.mjs.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "qemu/multifd_parser.h"
#include "qemu/stream_parser.h"
#include "qemu/stream_writer.h"

namespace {

void Require(bool holds) {
  if (!holds) abort();
}

// A writer that does not believe what it is told.
class Checker final : public dwcp::qemu::TokenSink {
 public:
  void OnToken(const dwcp::qemu::Token& token) override {
    Require(left_ == 0 && !opaque_);
    if (token.kind == dwcp::qemu::TokenKind::kRamBlock) blocks_.push_back(token.value);
    const bool is_page = token.kind == dwcp::qemu::TokenKind::kZero ||
                         token.kind == dwcp::qemu::TokenKind::kPage ||
                         token.kind == dwcp::qemu::TokenKind::kXbzrle ||
                         token.kind == dwcp::qemu::TokenKind::kCompressed;
    if (is_page) {
      Require(token.block < blocks_.size() && token.offset % dwcp::qemu::kTargetPageBytes == 0);
      Require(token.offset + dwcp::qemu::kTargetPageBytes <= blocks_[token.block]);
    }
    opaque_ = token.kind == dwcp::qemu::TokenKind::kOpaque;
    left_ = token.payload_bytes;
    writer_.OnToken(token);
  }
  void OnBytes(const uint8_t* bytes, size_t count) override {
    Require(opaque_ || count <= left_);
    if (!opaque_) left_ -= count;
    writer_.OnBytes(bytes, count);
  }
  const std::vector<uint8_t>& bytes() { return writer_.bytes(); }

 private:
  dwcp::qemu::StreamWriter writer_;
  std::vector<uint64_t> blocks_;
  uint64_t left_ = 0;
  bool opaque_ = false;
};

template <typename Parser>
void RoundTrip(const uint8_t* data, size_t bytes, size_t piece_bytes) {
  Checker checker;
  Parser parser(&checker);
  for (size_t at = 0; at < bytes; at += piece_bytes) {
    parser.Feed(data + at, std::min(piece_bytes, bytes - at));
  }
  parser.Finish();
  Require(checker.bytes().size() == bytes);
  Require(bytes == 0 || std::memcmp(checker.bytes().data(), data, bytes) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  if (bytes == 0) return 0;
  const size_t piece_bytes = (data[0] & 0x7f) == 0 ? bytes : data[0] & 0x7f;
  const bool multifd = (data[0] & 0x80) != 0;
  if (multifd) {
    RoundTrip<dwcp::qemu::MultifdParser>(data + 1, bytes - 1, piece_bytes);
  } else {
    RoundTrip<dwcp::qemu::StreamParser>(data + 1, bytes - 1, piece_bytes);
  }
  return 0;
}
