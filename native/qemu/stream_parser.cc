#include "qemu/stream_parser.h"

#include "qemu/stream_format.h"

namespace dwcp::qemu {
namespace {

// Machine types and capabilities have short names; QEMU itself would take any.
constexpr uint32_t kNameBytesMax = 255;
constexpr uint32_t kCapabilitiesMax = 64;
constexpr uint32_t kPageBits = 12;
constexpr uint32_t kXbzrleBytesMax = kTargetPageBytes;
constexpr uint32_t kCompressedBytesMax = 2 * kTargetPageBytes;

}  // namespace

size_t StreamParser::Become(State state, Token& token, const FieldReader& in) {
  if (!in.complete()) return 0;
  state_ = state;
  return Emit(token, in.used());
}

size_t StreamParser::Read(const uint8_t* bytes, size_t count) {
  FieldReader in(bytes, count);
  switch (state_) {
    case State::kHeader:
      return ReadHeader(&in);
    case State::kConfiguration:
      if (bytes[0] == kTypeConfiguration) return ReadConfiguration(&in);
      break;
    case State::kSubsection:
      if (bytes[0] == kTypeSubsection) return ReadSubsection(&in);
      break;
    case State::kPageBits:
      return ReadPageBits(&in);
    case State::kCapabilityCount:
      return ReadCapabilityCount(&in);
    case State::kCapability:
      return ReadCapability(&in);
    case State::kUuid: {
      Token token;
      token.kind = TokenKind::kUuid;
      in.Take(16);
      token.text = std::string(bytes, bytes + in.used());
      return Become(State::kSubsection, token, in);
    }
    case State::kSection:
      break;
    case State::kRecord:
      return ReadRecord(&in);
    case State::kBlock:
      return ReadBlock(&in);
    case State::kGuestAddress:
      return ReadGuestAddress(&in);
    case State::kFooter:
      return ReadFooter(&in);
  }
  return ReadSection(&in);
}

size_t StreamParser::ReadHeader(FieldReader* in) {
  const uint32_t magic = in->Be32();
  Token token;
  token.kind = TokenKind::kFileHeader;
  token.value = in->Be32();
  if (!in->complete()) return 0;
  if (magic != kFileMagic) return BecomeOpaque("it does not begin as a migration");
  if (token.value != kFileVersion) return BecomeOpaque("another version of the stream");
  return Become(State::kConfiguration, token, *in);
}

size_t StreamParser::ReadConfiguration(FieldReader* in) {
  in->U8();
  const uint32_t length = in->Be32();
  if (in->complete() && length > kNameBytesMax) {
    return BecomeOpaque("a machine type of impossible length");
  }
  Token token;
  token.kind = TokenKind::kConfiguration;
  token.text = in->Text(length);
  return Become(State::kSubsection, token, *in);
}

size_t StreamParser::ReadSubsection(FieldReader* in) {
  in->U8();
  Token token;
  token.kind = TokenKind::kSubsection;
  token.text = in->Str8();
  token.value = in->Be32();
  if (!in->complete()) return 0;
  if (token.text == "configuration/target-page-bits") return Become(State::kPageBits, token, *in);
  if (token.text == "configuration/capabilities") {
    return Become(State::kCapabilityCount, token, *in);
  }
  if (token.text == "configuration/uuid") return Become(State::kUuid, token, *in);
  return BecomeOpaque("an unknown part of the configuration");
}

size_t StreamParser::ReadPageBits(FieldReader* in) {
  Token token;
  token.kind = TokenKind::kWord;
  token.value = in->Be32();
  if (in->complete() && token.value != kPageBits) return BecomeOpaque("pages of another size");
  return Become(State::kSubsection, token, *in);
}

size_t StreamParser::ReadCapabilityCount(FieldReader* in) {
  Token token;
  token.kind = TokenKind::kWord;
  token.value = in->Be32();
  if (!in->complete()) return 0;
  if (token.value > kCapabilitiesMax) return BecomeOpaque("too many capabilities");
  capabilities_left_ = static_cast<uint32_t>(token.value);
  return Become(capabilities_left_ == 0 ? State::kSubsection : State::kCapability, token, *in);
}

size_t StreamParser::ReadCapability(FieldReader* in) {
  Token token;
  token.kind = TokenKind::kName;
  token.text = in->Str8();
  if (!in->complete()) return 0;
  if (token.text == "x-ignore-shared") {
    shares_memory_ = true;
  } else {
    // mapped-ram lays pages out in a file; of what came after it nobody knows here.
    return BecomeOpaque("a capability that changes the stream");
  }
  capabilities_left_--;
  return Become(capabilities_left_ == 0 ? State::kSubsection : State::kCapability, token, *in);
}

size_t StreamParser::ReadSection(FieldReader* in) {
  state_ = State::kSection;
  switch (in->U8()) {
    case kTypeCommand:
      return ReadCommand(in);
    case kTypeSectionStart:
      return ReadSectionStart(in);
    case kTypeSectionPart:
      return ReadSectionRest(in, TokenKind::kSectionPart);
    case kTypeSectionEnd:
      return ReadSectionRest(in, TokenKind::kSectionEnd);
    default:
      return BecomeOpaque(ram_ended_ ? "the state of devices"
                                     : "a section that cannot be measured");
  }
}

size_t StreamParser::ReadCommand(FieldReader* in) {
  Token token;
  token.kind = TokenKind::kCommand;
  token.value = in->Be16();
  token.payload_bytes = in->Be16();
  if (!in->complete()) return 0;
  // Post-copy changes who reads what, and may add fields to the list of blocks.
  const bool known = token.value == kCommandOpenReturnPath || token.value == kCommandPing ||
                     token.value == kCommandSwitchoverStart;
  if (!known) return BecomeOpaque("a command that changes the stream");
  return Become(State::kSection, token, *in);
}

size_t StreamParser::ReadSectionStart(FieldReader* in) {
  Token token;
  token.kind = TokenKind::kSectionStart;
  token.section = in->Be32();
  token.text = in->Str8();
  token.instance = in->Be32();
  token.version = in->Be32();
  if (!in->complete()) return 0;
  const bool is_ram = token.text == "ram" && token.instance == 0 && token.version == kRamVersion;
  if (!is_ram || ram_started_) return BecomeOpaque("a section that cannot be measured");
  ram_started_ = true;
  ram_section_ = token.section;
  return Become(State::kRecord, token, *in);
}

size_t StreamParser::ReadSectionRest(FieldReader* in, TokenKind kind) {
  Token token;
  token.kind = kind;
  token.section = in->Be32();
  if (!in->complete()) return 0;
  if (!ram_started_ || ram_ended_ || token.section != ram_section_) {
    return BecomeOpaque("a section that was not started");
  }
  ram_ending_ = kind == TokenKind::kSectionEnd;
  return Become(State::kRecord, token, *in);
}

size_t StreamParser::ReadRecord(FieldReader* in) {
  const uint64_t word = in->Be64();
  if (!in->complete()) return 0;
  const uint32_t flags = word & (kTargetPageBytes - 1);
  const uint64_t offset = word - flags;
  if (flags == kFlagRamSize) return ReadRamSize(offset, in);
  if (flags == kFlagEndOfRecords || flags == kFlagMultifdFlush) {
    if (offset != 0) return BecomeOpaque("a mark that carries an address");
    Token token;
    const bool ends = flags == kFlagEndOfRecords;
    token.kind = ends ? TokenKind::kEndOfRecords : TokenKind::kMultifdFlush;
    return Become(ends ? State::kFooter : State::kRecord, token, *in);
  }
  return ReadPageRecord(flags, offset, in);
}

size_t StreamParser::ReadRamSize(uint64_t total, FieldReader* in) {
  if (blocks_listed_ || total == 0 || total > kRamBytesMax) {
    return BecomeOpaque("an impossible size of RAM");
  }
  blocks_listed_ = true;
  unlisted_bytes_ = total;
  Token token;
  token.kind = TokenKind::kRamSize;
  token.value = total;
  return Become(State::kBlock, token, *in);
}

size_t StreamParser::ReadBlock(FieldReader* in) {
  Token token;
  token.kind = TokenKind::kRamBlock;
  token.text = in->Str8();
  token.value = in->Be64();
  if (!in->complete()) return 0;
  token.block = static_cast<uint32_t>(blocks_.size());
  for (const RamBlock& block : blocks_) {
    if (block.name == token.text) return BecomeOpaque("a block of RAM listed twice");
  }
  const bool possible = blocks_.size() < kRamBlocksMax && token.value > 0 &&
                        token.value % kTargetPageBytes == 0 && token.value <= unlisted_bytes_;
  if (!possible) return BecomeOpaque("an impossible block of RAM");
  blocks_.push_back({token.text, token.value});
  unlisted_bytes_ -= token.value;
  if (shares_memory_) return Become(State::kGuestAddress, token, *in);
  return Become(unlisted_bytes_ == 0 ? State::kRecord : State::kBlock, token, *in);
}

size_t StreamParser::ReadGuestAddress(FieldReader* in) {
  Token token;
  token.kind = TokenKind::kGuestAddress;
  token.value = in->Be64();
  return Become(unlisted_bytes_ == 0 ? State::kRecord : State::kBlock, token, *in);
}

size_t StreamParser::ReadPageRecord(uint32_t flags, uint64_t offset, FieldReader* in) {
  Token token;
  switch (flags & ~kFlagContinue) {
    case kFlagZero:
      token.kind = TokenKind::kZero;
      break;
    case kFlagPage:
      token.kind = TokenKind::kPage;
      token.payload_bytes = kTargetPageBytes;
      break;
    case kFlagXbzrle:
      token.kind = TokenKind::kXbzrle;
      break;
    case kFlagCompressed:
      token.kind = TokenKind::kCompressed;
      break;
    default:
      return BecomeOpaque("an unknown record of RAM");
  }
  token.named = (flags & kFlagContinue) == 0;
  token.offset = offset;
  int block = current_block_;
  if (token.named) {
    const std::string name = in->Str8();
    if (!in->complete()) return 0;
    block = -1;
    for (size_t i = 0; i < blocks_.size() && block < 0; i++) {
      if (blocks_[i].name == name) block = static_cast<int>(i);
    }
  }
  if (block < 0 || offset >= blocks_[block].bytes) {
    return BecomeOpaque("a page that no block of RAM has");
  }
  token.block = static_cast<uint32_t>(block);
  if (token.kind == TokenKind::kZero) token.fill = in->U8();
  if (token.kind == TokenKind::kXbzrle) {
    const uint8_t encoding = in->U8();
    token.payload_bytes = in->Be16();
    if (!in->complete()) return 0;
    if (encoding != 1 || token.payload_bytes > kXbzrleBytesMax) {
      return BecomeOpaque("an impossible delta");
    }
  }
  if (token.kind == TokenKind::kCompressed) {
    token.payload_bytes = in->Be32();
    if (in->complete() && token.payload_bytes > kCompressedBytesMax) {
      return BecomeOpaque("a compressed page of impossible length");
    }
  }
  if (!in->complete()) return 0;
  current_block_ = block;
  return Become(State::kRecord, token, *in);
}

size_t StreamParser::ReadFooter(FieldReader* in) {
  const uint8_t type = in->U8();
  Token token;
  token.kind = TokenKind::kFooter;
  token.section = in->Be32();
  if (!in->complete()) return 0;
  if (type != kTypeFooter || token.section != ram_section_ || !blocks_listed_) {
    return BecomeOpaque("a section that ends as another one");
  }
  ram_ended_ = ram_ending_;
  return Become(State::kSection, token, *in);
}

}  // namespace dwcp::qemu
