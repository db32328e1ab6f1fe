#include "qemu/stream_writer.h"

#include "qemu/stream_format.h"

namespace dwcp::qemu {

void StreamWriter::OnToken(const Token& token) {
  switch (token.kind) {
    case TokenKind::kFileHeader:
      out_.Be32(kFileMagic);
      return out_.Be32(token.value);
    case TokenKind::kConfiguration:
      out_.U8(kTypeConfiguration);
      out_.Be32(token.text.size());
      return out_.Text(token.text);
    case TokenKind::kSubsection:
      out_.U8(kTypeSubsection);
      out_.Str8(token.text);
      return out_.Be32(token.value);
    case TokenKind::kWord:
      return out_.Be32(token.value);
    case TokenKind::kName:
      return out_.Str8(token.text);
    case TokenKind::kUuid:
      return out_.Text(token.text);
    case TokenKind::kCommand:
      out_.U8(kTypeCommand);
      out_.Be16(token.value);
      return out_.Be16(token.payload_bytes);
    case TokenKind::kSectionStart:
      Section(kTypeSectionStart, token);
      out_.Str8(token.text);
      out_.Be32(token.instance);
      return out_.Be32(token.version);
    case TokenKind::kSectionPart:
      return Section(kTypeSectionPart, token);
    case TokenKind::kSectionEnd:
      return Section(kTypeSectionEnd, token);
    case TokenKind::kFooter:
      return Section(kTypeFooter, token);
    case TokenKind::kRamSize:
      return out_.Be64(token.value | kFlagRamSize);
    case TokenKind::kRamBlock:
      block_names_.push_back(token.text);
      out_.Str8(token.text);
      return out_.Be64(token.value);
    case TokenKind::kGuestAddress:
      return out_.Be64(token.value);
    case TokenKind::kZero:
      PageRecord(kFlagZero, token);
      return out_.U8(token.fill);
    case TokenKind::kPage:
      return PageRecord(kFlagPage, token);
    case TokenKind::kXbzrle:
      PageRecord(kFlagXbzrle, token);
      out_.U8(1);
      return out_.Be16(token.payload_bytes);
    case TokenKind::kCompressed:
      PageRecord(kFlagCompressed, token);
      return out_.Be32(token.payload_bytes);
    case TokenKind::kEndOfRecords:
      return out_.Be64(kFlagEndOfRecords);
    case TokenKind::kMultifdFlush:
      return out_.Be64(kFlagMultifdFlush);
    case TokenKind::kMultifdHello:
      out_.Be32(kMultifdMagic);
      out_.Be32(kMultifdVersion);
      return out_.Text(token.text);
    case TokenKind::kMultifdPacket:
      return MultifdPacket(token);
    case TokenKind::kMultifdState:
      out_.Be32(kMultifdMagic);
      out_.Be32(kMultifdVersion);
      out_.Be32(token.flags);
      out_.Text(token.text);
      out_.Be32(token.instance);
      return out_.Be32(token.next_bytes);
    case TokenKind::kOpaque:
      return;
  }
}

void StreamWriter::Section(uint8_t type, const Token& token) {
  out_.U8(type);
  out_.Be32(token.section);
}

void StreamWriter::PageRecord(uint32_t flag, const Token& token) {
  out_.Be64(token.offset | flag | (token.named ? 0 : kFlagContinue));
  if (token.named) out_.Str8(block_names_[token.block]);
}

void StreamWriter::MultifdPacket(const Token& token) {
  out_.Be32(kMultifdMagic);
  out_.Be32(kMultifdVersion);
  out_.Be32(token.flags);
  out_.Be32(token.pages_allocated);
  out_.Be32(token.normal_pages);
  out_.Be32(token.next_bytes);
  out_.Be64(token.value);
  out_.Be32(token.zero_pages);
  out_.Text(token.text);
}

}  // namespace dwcp::qemu
