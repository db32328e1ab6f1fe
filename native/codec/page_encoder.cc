#include "codec/page_encoder.h"

#include <cstring>
#include <new>

#include "codec/entropy.h"
#include "codec/records.h"
#include "memory/region.h"

namespace dwcp {
namespace {

// A codec that gains less than this is not worth undoing at the other side.
size_t WorthBytes(size_t raw_bytes) { return raw_bytes - raw_bytes / 32; }
// Below this nothing is gained by a codec.
constexpr size_t kCodecBytesMin = 64;

}  // namespace

void PageEncoder::Free::operator()(uint8_t* bytes) const {
  ::operator delete (bytes, std::align_val_t{4096});
}

void PageEncoder::Begin(MapEntry* map, uint32_t chunk_bytes, const EncodeContext& context) {
  map_ = map;
  context_ = context;
  chunk_bytes_ = chunk_bytes;
  result_ = EncodedPages{};
  if (capacity_ >= chunk_bytes) return;
  payload_.reset(static_cast<uint8_t*>(::operator new (chunk_bytes, std::align_val_t{4096})));
  capacity_ = chunk_bytes;
}

bool PageEncoder::full() const {
  return result_.raw_bytes + kPageBytes > chunk_bytes_ || result_.map_entries == kMapEntriesMax ||
         result_.pages() == kPagesPerChunkMax;
}

void PageEncoder::Name(uint64_t page, EntryKind kind) {
  if (result_.map_entries > 0) {
    MapEntry& last = map_[result_.map_entries - 1];
    if (last.kind() == kind && last.first_page + uint64_t{last.count()} == page) {
      last.count_and_zero++;
      return;
    }
  }
  map_[result_.map_entries++] = {static_cast<uint32_t>(page), 1 | static_cast<uint32_t>(kind)
                                                                      << 28};
}

void PageEncoder::Add(uint64_t page, const void* bytes) {
  if (IsZeroPage(bytes)) {
    if (context_.baselines != nullptr) context_.baselines->Forget(page);
    Name(page, EntryKind::kZero);
    result_.zero++;
    return;
  }
  uint8_t* copy = payload_.get() + result_.raw_bytes;
  const PageDigest digest = CopyPageWithDigest(copy, bytes);
  if (AddDelta(page, digest)) {
    Name(page, EntryKind::kDelta);
    result_.delta++;
  } else if (!context_.whole && AddCopy(page, digest)) {
    Name(page, EntryKind::kCopy);
    result_.copied++;
  } else if (!context_.whole && AddKnown(digest)) {
    Name(page, EntryKind::kKnown);
    result_.known++;
  } else {
    Name(page, EntryKind::kWhole);
    result_.whole++;
    result_.raw_bytes += kPageBytes;
  }
}

bool PageEncoder::AddDelta(uint64_t page, PageDigest digest) {
  if (context_.baselines == nullptr) return false;
  if (context_.whole) context_.baselines->Forget(page);
  uint8_t* record = payload_.get() + result_.raw_bytes;
  uint8_t runs[kDeltaBytesMax];
  PageDigest base;
  const int bytes = context_.baselines->Advance(page, context_.seq, context_.acked_seq, record,
                                                digest, runs, &base);
  if (bytes < 0) return false;
  WriteDeltaHeader(record, base, digest, static_cast<uint16_t>(bytes));
  std::memcpy(record + kDeltaHeaderBytes, runs, static_cast<size_t>(bytes));
  result_.raw_bytes += kDeltaHeaderBytes + static_cast<uint32_t>(bytes);
  return true;
}

bool PageEncoder::AddCopy(uint64_t page, PageDigest digest) {
  if (context_.baselines == nullptr) return false;
  uint8_t* record = payload_.get() + result_.raw_bytes;
  const uint64_t twin = context_.baselines->Twin(page, context_.acked_seq, record, digest);
  if (twin == context_.baselines->page_count()) return false;
  WriteCopy(record, {static_cast<uint32_t>(twin), digest});
  result_.raw_bytes += kCopyBytes;
  return true;
}

bool PageEncoder::AddKnown(PageDigest digest) {
  if (context_.filter == nullptr) return false;
  uint8_t* record = payload_.get() + result_.raw_bytes;
  ContentHash hash;
  if (!context_.filter->Holds(record, digest, &hash)) return false;
  std::memcpy(record, hash.data(), hash.size());
  result_.raw_bytes += kKnownBytes;
  return true;
}

EncodedPages PageEncoder::Finish(CodecChoice choice, uint8_t* out) {
  const size_t bytes = result_.raw_bytes;
  size_t encoded = 0;
  if (choice.codec != Codec::kNone && bytes >= kCodecBytesMin) {
    result_.random = LooksRandom(payload_.get(), bytes);
    if (!result_.random) {
      encoded = compressor_.Compress(choice, payload_.get(), bytes, out, WorthBytes(bytes));
    }
  }
  if (encoded > 0) {
    result_.codec = choice.codec;
    result_.encoded_bytes = static_cast<uint32_t>(encoded);
  } else {
    std::memcpy(out, payload_.get(), bytes);
    result_.encoded_bytes = result_.raw_bytes;
  }
  return result_;
}

}  // namespace dwcp
