#include "binding/qemu_binding.h"

#include <algorithm>
#include <memory>

#include "binding/qemu_relay_wrap.h"
#include "qemu/multifd_parser.h"
#include "qemu/stream_parser.h"
#include "qemu/stream_writer.h"

namespace dwcp {
namespace {

// Writes all that it hears of, and counts it.
class Account final : public qemu::TokenSink {
 public:
  void OnToken(const qemu::Token& token) override {
    if (token.kind == qemu::TokenKind::kOpaque) opaque_reason = token.text;
    if (token.kind == qemu::TokenKind::kPage) pages++;
    if (token.kind == qemu::TokenKind::kZero) zero_pages++;
    if (token.kind == qemu::TokenKind::kXbzrle) deltas++;
    if (token.kind == qemu::TokenKind::kMultifdPacket) {
      pages += token.normal_pages;
      zero_pages += token.zero_pages;
    }
    is_opaque_ = token.kind == qemu::TokenKind::kOpaque;
    writer.OnToken(token);
  }
  void OnBytes(const uint8_t* bytes, size_t count) override {
    if (is_opaque_) opaque_bytes += count;
    writer.OnBytes(bytes, count);
  }

  qemu::StreamWriter writer;
  double pages = 0, zero_pages = 0, deltas = 0, opaque_bytes = 0;
  std::string opaque_reason;

 private:
  bool is_opaque_ = false;
};

// (bytes, pieceBytes, multifd): reads the stream in such pieces and writes it again.
Napi::Value RoundTrip(const Napi::CallbackInfo& info) {
  const auto bytes = info[0].As<Napi::Uint8Array>();
  const size_t piece_bytes = std::max(1u, info[1].As<Napi::Number>().Uint32Value());
  const bool multifd = info[2].As<Napi::Boolean>();
  Account account;
  qemu::StreamParser stream(&account);
  qemu::MultifdParser channel(&account);
  qemu::TokenReader* reader = &stream;
  if (multifd) reader = &channel;
  for (size_t at = 0; at < bytes.ByteLength(); at += piece_bytes) {
    reader->Feed(bytes.Data() + at, std::min(piece_bytes, bytes.ByteLength() - at));
  }
  reader->Finish();
  Napi::Object out = Napi::Object::New(info.Env());
  const std::vector<uint8_t>& written = account.writer.bytes();
  out.Set("bytes", Napi::Buffer<uint8_t>::Copy(info.Env(), written.data(), written.size()));
  out.Set("pages", account.pages);
  out.Set("zeroPages", account.zero_pages);
  out.Set("deltas", account.deltas);
  out.Set("opaqueBytes", account.opaque_bytes);
  out.Set("opaqueReason", account.opaque_reason);
  out.Set("ramEnded", stream.ram_ended());
  Napi::Object blocks = Napi::Object::New(info.Env());
  for (const qemu::RamBlock& block : stream.blocks()) {
    blocks.Set(block.name, static_cast<double>(block.bytes));
  }
  out.Set("blocks", blocks);
  return out;
}

}  // namespace

void RegisterQemu(Napi::Env env, Napi::Object exports) {
  exports.Set("qemuRoundTrip", Napi::Function::New<RoundTrip>(env));
  exports.Set("QemuSource", QemuSourceWrap::Define(env));
  exports.Set("QemuTarget", QemuTargetWrap::Define(env));
}

}  // namespace dwcp
