// The codec of a chunk's payload as a whole: groups of pages compress together. No sockets, no
// threads; one object per thread keeps what the libraries need, so that a chunk allocates nothing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "codec/policy.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace dwcp {

class Compressor {
 public:
  Compressor();
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  // Bytes written to `out`, or 0 when they would be more than `capacity`.
  size_t Compress(CodecChoice choice, const uint8_t* in, size_t bytes, uint8_t* out,
                  size_t capacity);

 private:
  ZSTD_CCtx_s* zstd_ = nullptr;
  std::unique_ptr<uint8_t[]> lz4_;
};

class Decompressor {
 public:
  Decompressor() = default;
  ~Decompressor();
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  // True only when `in` is whole and became exactly `exact_bytes`; never writes beyond them.
  bool Decompress(Codec codec, const uint8_t* in, size_t bytes, uint8_t* out, size_t exact_bytes);

 private:
  ZSTD_DCtx_s* zstd_ = nullptr;
};

}  // namespace dwcp
