// Writes tokens as the stream that they were read from, byte for byte.
#pragma once
#include <vector>

#include "qemu/token.h"

namespace dwcp::qemu {

class ByteOutput {
 public:
  void U8(uint8_t value) { bytes.push_back(value); }
  void Be16(uint64_t value) { Big(value, 2); }
  void Be32(uint64_t value) { Big(value, 4); }
  void Be64(uint64_t value) { Big(value, 8); }
  void Text(const std::string& text) { bytes.insert(bytes.end(), text.begin(), text.end()); }
  void Str8(const std::string& text) {
    U8(static_cast<uint8_t>(text.size()));
    Text(text);
  }
  void Bytes(const uint8_t* data, size_t count) { bytes.insert(bytes.end(), data, data + count); }

  std::vector<uint8_t> bytes;

 private:
  void Big(uint64_t value, int width) {
    for (int shift = 8 * (width - 1); shift >= 0; shift -= 8) {
      U8(static_cast<uint8_t>(value >> shift));
    }
  }
};

class StreamWriter final : public TokenSink {
 public:
  void OnToken(const Token& token) override;
  void OnBytes(const uint8_t* bytes, size_t count) override { out_.Bytes(bytes, count); }
  std::vector<uint8_t>& bytes() { return out_.bytes; }

 private:
  void Section(uint8_t type, const Token& token);
  void PageRecord(uint32_t flag, const Token& token);
  void MultifdPacket(const Token& token);

  ByteOutput out_;
  std::vector<std::string> block_names_;
};

}  // namespace dwcp::qemu
