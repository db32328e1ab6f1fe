#include "qemu/multifd_parser.h"

#include "qemu/stream_format.h"

namespace dwcp::qemu {
namespace {

constexpr size_t kUuidBytes = 16;
constexpr size_t kHelloUnusedBytes = 39;
constexpr size_t kPacketUnusedBytes = 28;
constexpr size_t kBlockNameBytes = 256;
constexpr uint32_t kPagesMax = 128;
constexpr uint32_t kFlagSync = 0x01;
// Which compression, from QEMU 10 on; the two lowest of them are all that 7.2 has.
constexpr uint32_t kFlagsMethod = 0x3e;
constexpr uint64_t kPayloadBytesMax = 2 * uint64_t{kPagesMax} * kTargetPageBytes;
constexpr uint64_t kStateBytesMax = uint64_t{64} << 20;

}  // namespace

size_t MultifdParser::ReadHello(FieldReader* in) {
  const uint32_t magic = in->Be32();
  const uint32_t version = in->Be32();
  if (in->complete() && (magic != kMultifdMagic || version != kMultifdVersion)) {
    return BecomeOpaque("it does not begin as a channel of pages");
  }
  Token token;
  token.kind = TokenKind::kMultifdHello;
  token.text = in->Text(kUuidBytes + 1 + kHelloUnusedBytes);
  if (!in->complete()) return 0;
  token.value = static_cast<uint8_t>(token.text[kUuidBytes]);
  greeted_ = true;
  return Emit(token, in->used());
}

size_t MultifdParser::Read(const uint8_t* bytes, size_t count) {
  FieldReader in(bytes, count);
  if (!greeted_) return ReadHello(&in);
  const uint32_t magic = in.Be32();
  const uint32_t version = in.Be32();
  const uint32_t flags = in.Be32();
  if (!in.complete()) return 0;
  if (magic != kMultifdMagic || version != kMultifdVersion) {
    return BecomeOpaque("a packet of something else");
  }
  if (flags == kMultifdDeviceState) return ReadState(flags, &in);
  if ((flags & ~(kFlagSync | kFlagsMethod)) != 0) return BecomeOpaque("an unknown kind of packet");
  Token token;
  token.kind = TokenKind::kMultifdPacket;
  token.flags = flags;
  token.pages_allocated = in.Be32();
  token.normal_pages = in.Be32();
  token.next_bytes = in.Be32();
  token.value = in.Be64();
  token.zero_pages = in.Be32();
  if (!in.complete()) return 0;
  const uint64_t pages = uint64_t{token.normal_pages} + token.zero_pages;
  if (token.pages_allocated > kPagesMax || pages > token.pages_allocated) {
    return BecomeOpaque("a packet of impossible length");
  }
  // Its offsets fill the same room whether it names pages or only marks the end of a round.
  token.text = in.Text(kPacketUnusedBytes + kBlockNameBytes + kPagesMax * 8);
  if (!in.complete()) return 0;
  if (token.normal_pages > 0) {
    const bool compressed = (flags & kFlagsMethod) != 0;
    const uint64_t raw_bytes = uint64_t{token.normal_pages} * kTargetPageBytes;
    token.payload_bytes = compressed ? token.next_bytes : raw_bytes;
    if (token.payload_bytes > kPayloadBytesMax) return BecomeOpaque("pages of impossible length");
  }
  return Emit(token, in.used());
}

size_t MultifdParser::ReadState(uint32_t flags, FieldReader* in) {
  Token token;
  token.kind = TokenKind::kMultifdState;
  token.flags = flags;
  token.text = in->Text(kBlockNameBytes);
  token.instance = in->Be32();
  token.next_bytes = in->Be32();
  if (!in->complete()) return 0;
  token.payload_bytes = token.next_bytes;
  if (token.payload_bytes > kStateBytesMax) return BecomeOpaque("an impossible state of a device");
  return Emit(token, in->used());
}

}  // namespace dwcp::qemu
