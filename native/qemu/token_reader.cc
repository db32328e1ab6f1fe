#include "qemu/token_reader.h"

#include <algorithm>

namespace dwcp::qemu {

void TokenReader::Feed(const uint8_t* bytes, size_t count) {
  while (count > 0) {
    if (opaque_ || payload_left_ > 0) {
      const size_t passed = opaque_ ? count : std::min<uint64_t>(count, payload_left_);
      sink_->OnBytes(bytes, passed);
      if (!opaque_) payload_left_ -= passed;
      bytes += passed;
      count -= passed;
      continue;
    }
    if (held_.empty()) {
      const size_t used = Read(bytes, count);
      if (used == 0 && !opaque_) {
        held_.assign(bytes, bytes + std::min(count, kTokenBytesMax));
        if (count < kTokenBytesMax) return;
        BecomeOpaque("a token without end");
      }
      if (!held_.empty()) {
        sink_->OnBytes(held_.data(), held_.size());
        bytes += held_.size();
        count -= held_.size();
        held_.clear();
      }
      bytes += used;
      count -= used;
      continue;
    }
    const size_t before = held_.size();
    const size_t added = std::min(count, kTokenBytesMax - before);
    held_.insert(held_.end(), bytes, bytes + added);
    const size_t used = Read(held_.data(), held_.size());
    if (used == 0 && !opaque_) {
      if (held_.size() < kTokenBytesMax) return;
      BecomeOpaque("a token without end");
    }
    if (opaque_ && used == 0) sink_->OnBytes(held_.data(), held_.size());
    held_.clear();
    // Without the bytes of this piece it was unfinished, so it ends within them.
    const size_t taken = used == 0 ? added : used - before;
    bytes += taken;
    count -= taken;
  }
}

void TokenReader::Finish() {
  if (held_.empty()) return;
  BecomeOpaque("it ended within a token");
  sink_->OnBytes(held_.data(), held_.size());
  held_.clear();
}

size_t TokenReader::Emit(Token& token, size_t token_bytes) {
  payload_left_ = token.payload_bytes;
  sink_->OnToken(token);
  return token_bytes;
}

size_t TokenReader::BecomeOpaque(const char* why) {
  opaque_ = true;
  Token token;
  token.kind = TokenKind::kOpaque;
  token.text = why;
  sink_->OnToken(token);
  return 0;
}

const uint8_t* FieldReader::Take(size_t count) {
  if (short_ || count > count_ - at_) {
    short_ = true;
    return nullptr;
  }
  const uint8_t* taken = bytes_ + at_;
  at_ += count;
  return taken;
}

uint8_t FieldReader::U8() {
  const uint8_t* bytes = Take(1);
  return bytes == nullptr ? 0 : bytes[0];
}

uint16_t FieldReader::Be16() {
  const uint16_t high = U8();
  return static_cast<uint16_t>(high << 8 | U8());
}

uint32_t FieldReader::Be32() {
  const uint32_t high = Be16();
  return high << 16 | Be16();
}

uint64_t FieldReader::Be64() {
  const uint8_t* bytes = Take(8);
  if (bytes == nullptr) return 0;
  uint64_t value = 0;
  for (size_t i = 0; i < 8; i++) value = value << 8 | bytes[i];
  return value;
}

std::string FieldReader::Str8() { return Text(U8()); }

std::string FieldReader::Text(size_t count) {
  const uint8_t* bytes = Take(count);
  return bytes == nullptr ? std::string() : std::string(bytes, bytes + count);
}

}  // namespace dwcp::qemu
