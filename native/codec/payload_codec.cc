#include "codec/payload_codec.h"

#include <lz4.h>
#include <zstd.h>

#include <new>

namespace dwcp {

Compressor::Compressor() : lz4_(new uint8_t[static_cast<size_t>(LZ4_sizeofState())]) {}

Compressor::~Compressor() { ZSTD_freeCCtx(zstd_); }

size_t Compressor::Compress(CodecChoice choice, const uint8_t* in, size_t bytes, uint8_t* out,
                            size_t capacity) {
  if (choice.codec == Codec::kLz4) {
    const int written = LZ4_compress_fast_extState(
        lz4_.get(), reinterpret_cast<const char*>(in), reinterpret_cast<char*>(out),
        static_cast<int>(bytes), static_cast<int>(capacity), 1);
    return written > 0 ? static_cast<size_t>(written) : 0;
  }
  if (zstd_ == nullptr && (zstd_ = ZSTD_createCCtx()) == nullptr) throw std::bad_alloc();
  const size_t written = ZSTD_compressCCtx(zstd_, out, capacity, in, bytes, choice.level);
  return ZSTD_isError(written) ? 0 : written;
}

Decompressor::~Decompressor() { ZSTD_freeDCtx(zstd_); }

bool Decompressor::Decompress(Codec codec, const uint8_t* in, size_t bytes, uint8_t* out,
                              size_t exact_bytes) {
  if (codec == Codec::kLz4) {
    const int written =
        LZ4_decompress_safe(reinterpret_cast<const char*>(in), reinterpret_cast<char*>(out),
                            static_cast<int>(bytes), static_cast<int>(exact_bytes));
    return written >= 0 && static_cast<size_t>(written) == exact_bytes;
  }
  if (codec != Codec::kZstd) return false;
  if (zstd_ == nullptr && (zstd_ = ZSTD_createDCtx()) == nullptr) throw std::bad_alloc();
  const size_t written = ZSTD_decompressDCtx(zstd_, out, exact_bytes, in, bytes);
  return !ZSTD_isError(written) && written == exact_bytes;
}

}  // namespace dwcp
