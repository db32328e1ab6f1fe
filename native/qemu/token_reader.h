// Cuts a stream into tokens as its bytes come, in pieces of any length. What a token may measure is
// bounded, and its payload is passed on without being kept.
#pragma once
#include <vector>

#include "qemu/token.h"

namespace dwcp::qemu {

// The longest token without its payload: a multifd packet of 128 pages is shorter.
constexpr size_t kTokenBytesMax = 2048;

class TokenReader {
 public:
  explicit TokenReader(TokenSink* sink) : sink_(sink) {}
  virtual ~TokenReader() = default;

  void Feed(const uint8_t* bytes, size_t count);
  // The connection ended: what was kept of an unfinished token goes on as it is.
  void Finish();
  // What comes is passed on unread, from here to the end of the connection.
  bool opaque() const { return opaque_; }

 protected:
  // Reads one token from these bytes: how many it took, or 0 when it needs more, or called
  // BecomeOpaque. The same bytes must always be read the same way.
  virtual size_t Read(const uint8_t* bytes, size_t count) = 0;
  size_t Emit(Token& token, size_t token_bytes);
  size_t BecomeOpaque(const char* why);

 private:
  TokenSink* sink_;
  std::vector<uint8_t> held_;  // the beginning of a token
  uint64_t payload_left_ = 0;
  bool opaque_ = false;
};

// Fields of a token whose bytes may not all be there yet. Once it ran out, every read gives zeros.
class FieldReader {
 public:
  FieldReader(const uint8_t* bytes, size_t count) : bytes_(bytes), count_(count) {}
  bool complete() const { return !short_; }
  size_t used() const { return at_; }
  const uint8_t* Take(size_t count);
  uint8_t U8();
  uint16_t Be16();
  uint32_t Be32();
  uint64_t Be64();
  // A length of one byte and so many characters.
  std::string Str8();
  std::string Text(size_t count);

 private:
  const uint8_t* bytes_;
  size_t count_;
  size_t at_ = 0;
  bool short_ = false;
};

}  // namespace dwcp::qemu
