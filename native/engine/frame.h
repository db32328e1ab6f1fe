// The wire format of a bulk stream: a fixed little-endian header, then at most one body.
// Every length and bound is checked here, before anybody uses it: these bytes are hostile.
#pragma once
#include <cstddef>
#include <cstdint>

namespace dwcp {

constexpr uint32_t kFrameMagic = 0x42435744;  // "DWCB"
constexpr uint8_t kFrameVersion = 1;
constexpr size_t kHeaderBytes = 48;
constexpr size_t kJoinBytesMax = 256;
constexpr size_t kChallengeBytes = 16;
constexpr uint32_t kMapEntriesMax = 4096;
constexpr uint32_t kMapBytesMax = kMapEntriesMax * 8;
constexpr uint32_t kChunkBytesMax = 16u << 20;
// How far beyond the cumulative acknowledgement a sequence may be; the size of the ack bitmap.
constexpr uint32_t kOutstandingMax = 1024;
constexpr uint32_t kAckBytesMax = kOutstandingMax / 8;
constexpr uint32_t kRefusedBytesMax = 1024;
// What a receiver says it holds comes in pieces of so many bytes, and so many at most.
constexpr uint32_t kRdmaOfferBytes = 16 + 8;
constexpr uint32_t kRdmaReasonBytesMax = 240;
constexpr uint32_t kContentPieceBytesMax = 1024;
constexpr uint32_t kContentPiecesMax = 4096;
// Looking at zero pages costs time but no payload, so a chunk's pages are bounded apart from its
// bytes.
constexpr uint32_t kPagesPerChunkMax = 16384;
// A sealed body is nonce, ciphertext of what the plain body would be, tag of AES-GCM. The whole
// header is associated data, and its CRC tag is zero.
constexpr uint32_t kSealBytes = 12 + 16;
constexpr uint64_t kChunkFrameOverhead = kHeaderBytes + kMapBytesMax + kSealBytes;

enum class FrameType : uint8_t {
  kChallenge = 1,
  kJoin = 2,
  kAccept = 3,
  kChunkPages = 4,
  kChunkBytes = 5,
  kAck = 6,
  kReset = 7,          // the receiver knows no such transfer: its sender fails instead of waiting
  kPagesRefused = 8,   // receiver: these lack their base or content; `seq` numbers the first
  kRefusalsHeard = 9,  // sender: heard of all up to number `seq`
  // receiver: piece `seq` (from 0) of `raw_bytes` pieces of what its content cache holds
  kContent = 10,
  // Between attach and the first chunk, where queue pairs are wanted:
  kRdmaOffer = 11,   // listener: token and port of rdma_cm where the dialler may call
  kRdmaReady = 12,   // dialler: the queue pair stands, nothing follows on this socket
  kRdmaFailed = 13,  // either, with why: this socket carries everything
};

constexpr uint32_t kEndOfBytes = 1;
// Bits 4-7 of a page chunk's flags: the codec of its whole payload.
constexpr uint32_t kCodecShift = 4;
constexpr uint32_t kCodecMask = 0xfu << kCodecShift;
// Bit 8: the body is sealed.
constexpr uint32_t kSealed = 1u << 8;

enum class Codec : uint8_t { kNone = 0, kLz4 = 1, kZstd = 2, kZstdDictionary = 3 };

// Records of a payload: a known page is its strong hash; a delta is the digests of base and result,
// a length, and that many bytes, which are not worth a base when there are more of them; a copy is
// the number of a page that landed before, and the digest of both.
constexpr uint32_t kKnownBytes = 32;
constexpr uint32_t kDeltaHeaderBytes = 8 + 8 + 2;
constexpr uint32_t kDeltaBytesMax = 2048;
constexpr uint32_t kCopyBytes = 4 + 8;

// What the payload holds of each page of a run, in map order, before the codec.
enum class EntryKind : uint8_t {
  kWhole = 0,  // 4096 bytes
  kKnown = 1,  // 32 bytes: the strong hash of a content that the receiver has
  kDelta = 2,  // base digest, result digest, u16 length, that many bytes
  kCopy = 3,   // u32 number of another page of the transfer, its digest
  kZero = 8,   // nothing
};

struct FrameHeader {
  FrameType type;
  uint32_t body_bytes;  // everything after the header
  uint32_t epoch;
  uint64_t transfer_id;
  uint64_t seq;            // chunk: sequence from 1; ack: cumulative
  uint64_t credit;         // ack only: absolute bytes
  uint16_t refused;        // ack only: pages refused so far, modulo 2^16
  uint32_t map_entries;    // page chunk only
  uint32_t flags;          // kSealed; kEndOfBytes of a byte chunk, the codec of a page chunk
  uint32_t raw_bytes;      // chunk: bytes before encoding
  uint32_t encoded_bytes;  // chunk: bytes on the wire after the map
  uint32_t tag;            // CRC32C of header with a zero tag, then body; 0 in a sealed frame

  bool sealed() const { return (flags & kSealed) != 0; }
  // Of the body once it was opened.
  uint32_t plain_bytes() const { return sealed() ? body_bytes - kSealBytes : body_bytes; }
  Codec codec() const { return static_cast<Codec>((flags & kCodecMask) >> kCodecShift); }
};

// A run of pages of one kind.
struct MapEntry {
  uint32_t first_page;
  uint32_t count_and_zero;  // bits 28-31: the kind
  uint32_t count() const { return count_and_zero & 0x0fffffffu; }
  EntryKind kind() const { return static_cast<EntryKind>(count_and_zero >> 28); }
  bool zero() const { return kind() == EntryKind::kZero; }
};

enum class FrameError { kNone, kMagic, kVersion, kCheck, kType, kLength, kName, kMap };
const char* FrameErrorText(FrameError error);

void WriteHeader(uint8_t* out, const FrameHeader& header);
// Reads and checks everything that a header alone can tell.
FrameError ReadHeader(const uint8_t* in, FrameHeader* out);
// Only whole pages and zeros, and no codec: the payload is the pages.
bool IsPlain(const FrameHeader& header, const MapEntry* map);
// Ascending runs inside `page_count`, none empty; of a plain chunk also that its payload has the
// length that the header said, of another that it is possible.
FrameError CheckMap(const FrameHeader& header, const MapEntry* map, uint64_t page_count);
// CRC of the header as it stands at `header`, with its tag taken as zero.
uint32_t HeaderCrc(const uint8_t* header);
void PatchTag(uint8_t* header, uint32_t tag);
// The header has a check of its own: a length that was hit on the way would otherwise make us wait
// for a body that nobody sends. WriteHeader does this, too.
void PatchCheck(uint8_t* header);

}  // namespace dwcp
