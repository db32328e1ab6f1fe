// The main connection of QEMU's migration stream (facts of 7.2 to 10.0): header, configuration,
// commands, the RAM section with its records, and what follows it unread.
//
// A section of a device has no length, so the first one ends what can be read: it and all behind it
// is opaque. The same goes for anything unknown, never guessed: a caller that changed nothing yet
// passes the whole connection through.
#pragma once
#include <string>
#include <vector>

#include "qemu/token_reader.h"

namespace dwcp::qemu {

constexpr size_t kRamBlocksMax = 256;
// Of all blocks together.
constexpr uint64_t kRamBytesMax = uint64_t{1} << 44;

struct RamBlock {
  std::string name;
  uint64_t bytes;
};

class StreamParser final : public TokenReader {
 public:
  using TokenReader::TokenReader;
  const std::vector<RamBlock>& blocks() const { return blocks_; }
  uint32_t ram_section() const { return ram_section_; }
  // All of RAM was said, and its section closed.
  bool ram_ended() const { return ram_ended_; }

 private:
  enum class State : uint8_t {
    kHeader,
    kConfiguration,  // may follow, or not
    kSubsection,     // may follow, or not
    kPageBits,
    kCapabilityCount,
    kCapability,
    kUuid,
    kSection,
    kRecord,
    kBlock,
    kGuestAddress,
    kFooter,
  };
  size_t Read(const uint8_t* bytes, size_t count) override;
  size_t ReadHeader(FieldReader* in);
  size_t ReadConfiguration(FieldReader* in);
  size_t ReadSubsection(FieldReader* in);
  size_t ReadPageBits(FieldReader* in);
  size_t ReadCapabilityCount(FieldReader* in);
  size_t ReadCapability(FieldReader* in);
  size_t ReadSection(FieldReader* in);
  size_t ReadSectionStart(FieldReader* in);
  size_t ReadSectionRest(FieldReader* in, TokenKind kind);
  size_t ReadCommand(FieldReader* in);
  size_t ReadRecord(FieldReader* in);
  size_t ReadRamSize(uint64_t total, FieldReader* in);
  size_t ReadPageRecord(uint32_t flags, uint64_t offset, FieldReader* in);
  size_t ReadBlock(FieldReader* in);
  size_t ReadGuestAddress(FieldReader* in);
  size_t ReadFooter(FieldReader* in);
  size_t Become(State state, Token& token, const FieldReader& in);

  State state_ = State::kHeader;
  uint32_t capabilities_left_ = 0;
  bool shares_memory_ = false;
  bool ram_started_ = false;
  bool ram_ending_ = false;
  bool ram_ended_ = false;
  bool blocks_listed_ = false;
  uint32_t ram_section_ = 0;
  uint64_t unlisted_bytes_ = 0;
  std::vector<RamBlock> blocks_;
  int current_block_ = -1;  // what a record without a name means
};

}  // namespace dwcp::qemu
