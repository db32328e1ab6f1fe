// libFuzzer: whatever a chunk claims to be, decoding stays inside its bounds, and what it lets pass
// can be landed. See scripts/sanitize.mjs.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "codec/page_decoder.h"
#include "memory/region.h"

namespace {

constexpr uint64_t kPages = 1000;
constexpr uint32_t kRawBytesMax = 1 << 20;

void Require(bool holds) {
  if (!holds) abort();
}

// Lands everything, as a receiver would, into one page.
void Walk(const std::vector<dwcp::MapEntry>& map, const uint8_t* records, uint32_t raw_bytes) {
  static uint8_t page[dwcp::kPageBytes];
  const uint8_t* at = records;
  for (const dwcp::MapEntry& entry : map) {
    for (uint32_t i = 0; i < entry.count(); i++) {
      switch (entry.kind()) {
        case dwcp::EntryKind::kWhole:
          std::memcpy(page, at, sizeof page);
          at += sizeof page;
          break;
        case dwcp::EntryKind::kKnown:
          std::memcpy(page, at, dwcp::kKnownBytes);
          at += dwcp::kKnownBytes;
          break;
        case dwcp::EntryKind::kDelta: {
          const dwcp::DeltaRecord delta = dwcp::ReadDelta(at);
          dwcp::ApplyDelta(page, delta.runs, delta.bytes);
          at += dwcp::kDeltaHeaderBytes + delta.bytes;
          break;
        }
        case dwcp::EntryKind::kCopy:
          page[dwcp::ReadCopy(at).page % sizeof page] ^= 1;
          at += dwcp::kCopyBytes;
          break;
        case dwcp::EntryKind::kZero:
          break;
      }
    }
  }
  Require(at == records + raw_bytes);
}

}  // namespace

// mode, map entries, raw bytes, then the map, then the payload. A fuzzer does not guess a codec:
// where the mode says so the payload is compressed first, so that it sees what lies behind.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  static dwcp::PageDecoder decoder;
  static dwcp::Compressor compressor;
  if (bytes < 6) return 0;
  const uint8_t mode = data[0];
  uint32_t raw_bytes;
  std::memcpy(&raw_bytes, data + 2, sizeof raw_bytes);
  std::vector<dwcp::MapEntry> map(1 + data[1] % 32);
  data += 6;
  bytes -= 6;
  if (bytes < map.size() * sizeof map[0]) return 0;
  std::memcpy(map.data(), data, map.size() * sizeof map[0]);
  data += map.size() * sizeof map[0];
  bytes -= map.size() * sizeof map[0];
  std::vector<uint8_t> payload(data, data + bytes);
  dwcp::FrameHeader header{};
  header.type = dwcp::FrameType::kChunkPages;
  header.map_entries = static_cast<uint32_t>(map.size());
  header.flags = static_cast<uint32_t>(mode % 4) << dwcp::kCodecShift;
  header.raw_bytes = raw_bytes % kRawBytesMax;
  if (mode / 4 % 2 == 1) {
    const dwcp::CodecChoice choice{mode % 4 == 1 ? dwcp::Codec::kLz4 : dwcp::Codec::kZstd, 1};
    header.raw_bytes = static_cast<uint32_t>(bytes);
    std::vector<uint8_t> out(bytes + 1024);
    if (mode % 4 != 0) {
      out.resize(compressor.Compress(choice, payload.data(), bytes, out.data(), out.size()));
      payload = out;
    }
    // A whole run of one page each is the shape that most inputs miss.
    for (size_t i = 0; i < map.size() && mode / 8 % 2 == 1; i++) {
      map[i].first_page = static_cast<uint32_t>(i * 4);
      map[i].count_and_zero = (map[i].count_and_zero & 0xf0000000u) | (1 + i % 3);
    }
  }
  header.encoded_bytes = static_cast<uint32_t>(payload.size());
  if (header.codec() == dwcp::Codec::kNone) header.raw_bytes = header.encoded_bytes;
  if (dwcp::CheckMap(header, map.data(), kPages) != dwcp::FrameError::kNone) return 0;
  const uint8_t* records = decoder.Decode(header, map.data(), payload.data());
  if (records != nullptr) Walk(map, records, header.raw_bytes);
  return 0;
}
