// Makes the map and the payload of one chunk out of pages, each by the cheapest name it has: zero,
// delta, copy, known content, whole; then the codec over all of it. One per thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "codec/baselines.h"
#include "codec/content.h"
#include "codec/payload_codec.h"
#include "engine/frame.h"

namespace dwcp {

// What the pages of one chunk may be named by; null for what is not in use.
struct EncodeContext {
  Baselines* baselines = nullptr;
  ContentFilter* filter = nullptr;
  uint64_t seq = 0;
  uint64_t acked_seq = 0;  // every chunk up to here was acknowledged
  bool whole = false;      // the peer refused these pages: no names, no deltas
};

struct EncodedPages {
  Codec codec = Codec::kNone;
  bool random = false;  // not even tried: the payload looks incompressible
  uint32_t map_entries = 0;
  uint32_t raw_bytes = 0;
  uint32_t encoded_bytes = 0;
  uint32_t zero = 0, known = 0, delta = 0, copied = 0, whole = 0;  // pages
  uint32_t pages() const { return zero + named() + whole; }
  // What the peer has to have something for, and may refuse.
  uint32_t named() const { return known + delta + copied; }
};

class PageEncoder {
 public:
  // `map` has room for kMapEntriesMax entries and is filled as pages are added.
  void Begin(MapEntry* map, uint32_t chunk_bytes, const EncodeContext& context);
  // No further page fits for sure.
  bool full() const;
  // Pages ascend. `bytes` may change meanwhile: what is sent was read once.
  void Add(uint64_t page, const void* bytes);
  // `out` has room for `chunk_bytes`.
  EncodedPages Finish(CodecChoice choice, uint8_t* out);

 private:
  void Name(uint64_t page, EntryKind kind);
  bool AddDelta(uint64_t page, PageDigest digest);
  bool AddCopy(uint64_t page, PageDigest digest);
  bool AddKnown(PageDigest digest);

  struct Free {
    void operator()(uint8_t* bytes) const;
  };
  MapEntry* map_ = nullptr;
  EncodeContext context_;
  EncodedPages result_;
  uint32_t chunk_bytes_ = 0;
  size_t capacity_ = 0;
  std::unique_ptr<uint8_t[], Free> payload_;
  Compressor compressor_;
};

}  // namespace dwcp
