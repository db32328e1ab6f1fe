// clang++ -std=c++17 -g -fsanitize=fuzzer,address,undefined -Inative native/fuzz/frame_fuzz.cc \
//   native/engine/frame.cc native/memory/page_kernels.cc -o frame_fuzz && ./frame_fuzz -max_total_time=60
#include <cstdlib>
#include <cstring>
#include <vector>

#include "engine/frame.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  if (bytes < dwcp::kHeaderBytes) return 0;
  dwcp::FrameHeader header;
  if (dwcp::ReadHeader(data, &header) != dwcp::FrameError::kNone) return 0;
  // What passed must be what the same fields are written as, so that nothing is read two ways.
  uint8_t again[dwcp::kHeaderBytes];
  dwcp::WriteHeader(again, header);
  dwcp::FrameHeader reread;
  if (dwcp::ReadHeader(again, &reread) != dwcp::FrameError::kNone) abort();
  if (header.type != dwcp::FrameType::kChunkPages) return 0;
  std::vector<dwcp::MapEntry> map(header.map_entries);
  if (bytes - dwcp::kHeaderBytes < map.size() * sizeof map[0]) return 0;
  std::memcpy(map.data(), data + dwcp::kHeaderBytes, map.size() * sizeof map[0]);
  constexpr uint64_t kPages = 1000;
  if (dwcp::CheckMap(header, map.data(), kPages) != dwcp::FrameError::kNone) return 0;
  for (const dwcp::MapEntry& entry : map) {
    if (entry.first_page + uint64_t{entry.count()} > kPages) abort();
  }
  return 0;
}
