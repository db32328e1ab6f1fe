// QEMU's migration stream as a row of tokens. Each is a few fields and, for some, bytes that follow
// it; written again by the same fields they are the same stream, byte for byte.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace dwcp::qemu {

constexpr uint32_t kTargetPageBytes = 4096;

enum class TokenKind : uint8_t {
  kFileHeader,     // value: the version
  kConfiguration,  // text: the machine type
  kSubsection,     // text: its name; value: its version
  kWord,           // value: a be32 of a subsection
  kName,           // text: a name of a subsection
  kUuid,           // text: its 16 bytes
  kCommand,        // value: which; its data follow
  kSectionStart,   // section, text, instance, version
  kSectionPart,    // section
  kSectionEnd,     // section
  kFooter,         // section
  kRamSize,        // value: of all blocks together
  kRamBlock,       // text, value: how long; it is block number `block`
  kGuestAddress,   // value: of the block before, where memory is shared
  kZero,           // block, offset, named, fill: a page that has this byte everywhere
  kPage,           // block, offset, named; the page follows
  kXbzrle,         // block, offset, named; the delta follows
  kCompressed,     // block, offset, named; zlib follows
  kEndOfRecords,
  kMultifdFlush,
  kMultifdHello,   // value: the channel; text: uuid and unused bytes
  kMultifdPacket,  // value: its number; flags, pages allocated, normal, zero; text: the rest of its
                   // header; pages follow
  kMultifdState,   // flags; text: the device; instance; its state follows
  kOpaque,         // nobody knows what follows, to the end of the connection; text says why
};

struct Token {
  TokenKind kind{};
  uint64_t value = 0;
  uint32_t section = 0;
  uint32_t instance = 0;
  uint32_t version = 0;
  uint32_t block = 0;
  uint64_t offset = 0;  // of a page in its block
  bool named = false;   // the record repeats its block's name
  uint8_t fill = 0;
  uint32_t flags = 0;
  uint32_t pages_allocated = 0;
  uint32_t normal_pages = 0;
  uint32_t zero_pages = 0;
  uint32_t next_bytes = 0;  // as a multifd packet says, whether it means it or not
  // Bytes that follow this token. Of a kOpaque: all that come.
  uint64_t payload_bytes = 0;
  std::string text;
};

class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual void OnToken(const Token& token) = 0;
  // Of the last token, as they came: in any number of pieces.
  virtual void OnBytes(const uint8_t* bytes, size_t count) = 0;
};

}  // namespace dwcp::qemu
