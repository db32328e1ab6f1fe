#include "engine/frame.h"

#include <cstring>

#include "memory/page_kernels.h"
#include "memory/region.h"

namespace dwcp {
namespace {

constexpr size_t kCheckOffset = 6;
constexpr size_t kTagOffset = 44;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frames are copied as they lie in memory");

template <typename T>
void Put(uint8_t* out, size_t offset, T value) {
  std::memcpy(out + offset, &value, sizeof value);
}

template <typename T>
T Get(const uint8_t* in, size_t offset) {
  T value;
  std::memcpy(&value, in + offset, sizeof value);
  return value;
}

// CRC32C of all but the tag, folded to 16 bits: every single flipped bit shows.
uint16_t HeaderCheck(const uint8_t* header) {
  const uint32_t crc = Crc32c(Crc32c(0, header, kCheckOffset), header + kCheckOffset + 2,
                              kTagOffset - kCheckOffset - 2);
  return static_cast<uint16_t>(crc ^ (crc >> 16));
}

FrameError CheckChunk(const FrameHeader& h) {
  if (h.seq == 0) return FrameError::kName;
  if (h.raw_bytes > kChunkBytesMax || h.encoded_bytes > h.raw_bytes) return FrameError::kLength;
  const bool is_encoded = h.type == FrameType::kChunkPages && h.codec() != Codec::kNone;
  if (!is_encoded && h.encoded_bytes != h.raw_bytes) return FrameError::kLength;
  if (is_encoded && h.encoded_bytes == 0) return FrameError::kLength;
  if (h.map_entries > kMapEntriesMax) return FrameError::kMap;
  if (h.plain_bytes() != h.map_entries * 8 + h.encoded_bytes) return FrameError::kLength;
  return FrameError::kNone;
}

FrameError CheckByType(const FrameHeader& h) {
  if (h.sealed()) {
    // What joins has no key yet.
    if (h.type <= FrameType::kAccept) return FrameError::kType;
    if (h.body_bytes < kSealBytes) return FrameError::kLength;
    if (h.tag != 0) return FrameError::kCheck;
  }
  const uint32_t flags = h.flags & ~kSealed;
  switch (h.type) {
    case FrameType::kChallenge:
      return h.body_bytes == kChallengeBytes ? FrameError::kNone : FrameError::kLength;
    case FrameType::kJoin:
    case FrameType::kAccept:
      return h.body_bytes <= kJoinBytesMax ? FrameError::kNone : FrameError::kLength;
    case FrameType::kChunkPages:
      if (h.map_entries == 0) return FrameError::kMap;
      if ((flags & ~kCodecMask) != 0 || h.codec() > Codec::kZstdDictionary) {
        return FrameError::kType;
      }
      return CheckChunk(h);
    case FrameType::kChunkBytes:
      if (h.map_entries != 0) return FrameError::kMap;
      if (flags > kEndOfBytes) return FrameError::kType;
      if ((flags == kEndOfBytes) != (h.raw_bytes == 0)) return FrameError::kLength;
      return CheckChunk(h);
    case FrameType::kAck:
      return h.plain_bytes() <= kAckBytesMax && h.plain_bytes() % 8 == 0 ? FrameError::kNone
                                                                         : FrameError::kLength;
    case FrameType::kPagesRefused:
      if (h.seq == 0) return FrameError::kName;
      return h.plain_bytes() > 0 && h.plain_bytes() <= kRefusedBytesMax && h.plain_bytes() % 4 == 0
                 ? FrameError::kNone
                 : FrameError::kLength;
    case FrameType::kContent:
      if (h.raw_bytes == 0 || h.raw_bytes > kContentPiecesMax) return FrameError::kLength;
      if (h.seq >= h.raw_bytes) return FrameError::kName;
      return h.plain_bytes() <= kContentPieceBytesMax ? FrameError::kNone : FrameError::kLength;
    case FrameType::kRdmaOffer:
      return h.plain_bytes() == kRdmaOfferBytes ? FrameError::kNone : FrameError::kLength;
    case FrameType::kRdmaFailed:
      return h.plain_bytes() <= kRdmaReasonBytesMax ? FrameError::kNone : FrameError::kLength;
    case FrameType::kRdmaReady:
    case FrameType::kReset:
    case FrameType::kRefusalsHeard:
      return h.plain_bytes() == 0 ? FrameError::kNone : FrameError::kLength;
  }
  return FrameError::kType;
}

struct RecordBytes {
  uint64_t least, most;
};
constexpr uint64_t kNoSuchKind = ~uint64_t{0};

RecordBytes BytesOf(EntryKind kind) {
  switch (kind) {
    case EntryKind::kWhole:
      return {kPageBytes, kPageBytes};
    case EntryKind::kKnown:
      return {kKnownBytes, kKnownBytes};
    case EntryKind::kDelta:
      return {kDeltaHeaderBytes, kDeltaHeaderBytes + kDeltaBytesMax};
    case EntryKind::kCopy:
      return {kCopyBytes, kCopyBytes};
    case EntryKind::kZero:
      return {0, 0};
  }
  return {0, kNoSuchKind};
}

}  // namespace

const char* FrameErrorText(FrameError error) {
  switch (error) {
    case FrameError::kNone:
      return "no error";
    case FrameError::kMagic:
      return "wrong magic";
    case FrameError::kVersion:
      return "unknown frame version";
    case FrameError::kCheck:
      return "the header failed its check";
    case FrameError::kType:
      return "frame type not allowed here";
    case FrameError::kLength:
      return "length out of bounds";
    case FrameError::kName:
      return "sequence out of bounds";
    case FrameError::kMap:
      return "page map out of bounds";
  }
  return "unknown";
}

void WriteHeader(uint8_t* out, const FrameHeader& h) {
  std::memset(out, 0, kHeaderBytes);
  Put<uint32_t>(out, 0, kFrameMagic);
  out[4] = kFrameVersion;
  out[5] = static_cast<uint8_t>(h.type);
  Put<uint32_t>(out, 8, h.body_bytes);
  Put<uint32_t>(out, 12, h.epoch);
  Put<uint64_t>(out, 16, h.transfer_id);
  Put<uint64_t>(out, 24, h.seq);
  if (h.type == FrameType::kAck) {
    Put<uint64_t>(out, 32, h.credit);
    Put<uint16_t>(out, 40, static_cast<uint16_t>(h.flags));
    Put<uint16_t>(out, 42, h.refused);
  } else {
    Put<uint16_t>(out, 32, static_cast<uint16_t>(h.map_entries));
    Put<uint16_t>(out, 34, static_cast<uint16_t>(h.flags));
    Put<uint32_t>(out, 36, h.raw_bytes);
    Put<uint32_t>(out, 40, h.encoded_bytes);
  }
  Put<uint32_t>(out, kTagOffset, h.tag);
  PatchCheck(out);
}

FrameError ReadHeader(const uint8_t* in, FrameHeader* h) {
  if (Get<uint32_t>(in, 0) != kFrameMagic) return FrameError::kMagic;
  if (in[4] != kFrameVersion) return FrameError::kVersion;
  if (Get<uint16_t>(in, kCheckOffset) != HeaderCheck(in)) return FrameError::kCheck;
  if (in[5] < 1 || in[5] > 13) return FrameError::kType;
  *h = FrameHeader{};
  h->type = static_cast<FrameType>(in[5]);
  h->body_bytes = Get<uint32_t>(in, 8);
  h->epoch = Get<uint32_t>(in, 12);
  h->transfer_id = Get<uint64_t>(in, 16);
  h->seq = Get<uint64_t>(in, 24);
  if (h->type == FrameType::kAck) {
    h->credit = Get<uint64_t>(in, 32);
    h->flags = Get<uint16_t>(in, 40);
    h->refused = Get<uint16_t>(in, 42);
  } else {
    h->map_entries = Get<uint16_t>(in, 32);
    h->flags = Get<uint16_t>(in, 34);
    h->raw_bytes = Get<uint32_t>(in, 36);
    h->encoded_bytes = Get<uint32_t>(in, 40);
  }
  h->tag = Get<uint32_t>(in, kTagOffset);
  return CheckByType(*h);
}

bool IsPlain(const FrameHeader& h, const MapEntry* map) {
  if (h.codec() != Codec::kNone) return false;
  for (uint32_t i = 0; i < h.map_entries; i++) {
    if (map[i].kind() != EntryKind::kWhole && !map[i].zero()) return false;
  }
  return true;
}

FrameError CheckMap(const FrameHeader& h, const MapEntry* map, uint64_t page_count) {
  uint64_t least_bytes = 0;
  uint64_t most_bytes = 0;
  uint64_t next_page = 0;
  uint64_t pages = 0;
  for (uint32_t i = 0; i < h.map_entries; i++) {
    const uint64_t count = map[i].count();
    if (count == 0 || map[i].first_page < next_page) return FrameError::kMap;
    next_page = map[i].first_page + count;
    pages += count;
    if (next_page > page_count || pages > kPagesPerChunkMax) return FrameError::kMap;
    const RecordBytes record = BytesOf(map[i].kind());
    if (record.most == kNoSuchKind) return FrameError::kMap;
    least_bytes += count * record.least;
    most_bytes += count * record.most;
  }
  return least_bytes <= h.raw_bytes && h.raw_bytes <= most_bytes ? FrameError::kNone
                                                                 : FrameError::kMap;
}

uint32_t HeaderCrc(const uint8_t* header) {
  const uint8_t zeros[4] = {0, 0, 0, 0};
  return Crc32c(Crc32c(0, header, kTagOffset), zeros, sizeof zeros);
}

void PatchCheck(uint8_t* header) { Put<uint16_t>(header, kCheckOffset, HeaderCheck(header)); }

void PatchTag(uint8_t* header, uint32_t tag) { Put<uint32_t>(header, kTagOffset, tag); }

}  // namespace dwcp
