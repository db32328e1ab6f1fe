// libFuzzer: whatever ReadHeader and CheckMap let pass is inside every bound. See
// scripts/sanitize.mjs.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "engine/frame.h"

namespace {

constexpr uint64_t kPages = 1000;

void Require(bool holds) {
  if (!holds) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  if (bytes < dwcp::kHeaderBytes + 1) return 0;
  uint8_t header_bytes[dwcp::kHeaderBytes];
  std::memcpy(header_bytes, data + 1, sizeof header_bytes);
  // A fuzzer does not guess checksums: mostly it gets them, so that it sees what lies behind.
  if (data[0] != 0) {
    std::memcpy(header_bytes, &dwcp::kFrameMagic, sizeof dwcp::kFrameMagic);
    header_bytes[4] = dwcp::kFrameVersion;
    dwcp::PatchCheck(header_bytes);
  }
  dwcp::FrameHeader header;
  if (dwcp::ReadHeader(header_bytes, &header) != dwcp::FrameError::kNone) return 0;
  Require(header.body_bytes <= dwcp::kMapBytesMax + dwcp::kChunkBytesMax + dwcp::kSealBytes);
  // What passed must be what the same fields are written as, so that nothing is read two ways.
  uint8_t again[dwcp::kHeaderBytes];
  dwcp::WriteHeader(again, header);
  dwcp::FrameHeader reread;
  Require(dwcp::ReadHeader(again, &reread) == dwcp::FrameError::kNone);
  Require(reread.seq == header.seq && reread.body_bytes == header.body_bytes);
  Require(reread.sealed() == header.sealed());
  const bool chunk =
      header.type == dwcp::FrameType::kChunkPages || header.type == dwcp::FrameType::kChunkBytes;
  if (!chunk) {
    Require(header.body_bytes <= dwcp::kRefusedBytesMax + dwcp::kSealBytes);
    return 0;
  }
  Require(header.seq > 0 && header.encoded_bytes <= dwcp::kChunkBytesMax);
  Require(header.map_entries <= dwcp::kMapEntriesMax);
  Require(header.plain_bytes() == header.map_entries * uint64_t{8} + header.encoded_bytes);
  if (header.type != dwcp::FrameType::kChunkPages) return 0;
  std::vector<dwcp::MapEntry> map(header.map_entries);
  const size_t rest = bytes - sizeof header_bytes - 1;
  if (rest < map.size() * sizeof map[0]) return 0;
  std::memcpy(map.data(), data + 1 + sizeof header_bytes, map.size() * sizeof map[0]);
  if (dwcp::CheckMap(header, map.data(), kPages) != dwcp::FrameError::kNone) return 0;
  uint64_t next_page = 0;
  uint64_t payload_pages = 0;
  for (const dwcp::MapEntry& entry : map) {
    Require(entry.count() > 0 && entry.first_page >= next_page);
    next_page = entry.first_page + uint64_t{entry.count()};
    Require(next_page <= kPages);
    if (!entry.zero()) payload_pages += entry.count();
  }
  if (dwcp::IsPlain(header, map.data())) Require(payload_pages * 4096 == header.encoded_bytes);
  Require(header.encoded_bytes <= header.raw_bytes);
  return 0;
}
