// libFuzzer: whatever lies in the directory of a content cache, and whatever a peer says its cache
// holds: nothing is read out of bounds, and no page is served that is not what its hash names.
// See scripts/sanitize.mjs.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cache/content_store.h"
#include "engine/content_exchange.h"
#include "memory/region.h"

namespace {

constexpr uint8_t kSecret[dwcp::kContentSecretBytesMin] = {7};
constexpr uint64_t kSegmentId = 1;
constexpr size_t kFilePagesMax = 8;

void Require(bool holds) {
  if (!holds) abort();
}

const std::shared_ptr<const dwcp::ContentKey>& Key() {
  static const auto key = std::make_shared<const dwcp::ContentKey>(kSecret, sizeof kSecret);
  return key;
}

const std::string& Folder() {
  static const std::string folder = [] {
    static char name[] = "/tmp/dwcp-cache-fuzz-XXXXXX";
    Require(mkdtemp(name) != nullptr);
    std::atexit([] {
      const std::string path = name;
      for (const char* file : {"/lock", "/0000000000000001.index", "/0000000000000001.pages"}) {
        unlink((path + file).c_str());
      }
      rmdir(name);
    });
    return std::string(name);
  }();
  return folder;
}

void WriteFile(const std::string& name, const uint8_t* bytes, size_t count) {
  const int fd = open((Folder() + name).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  Require(fd >= 0 && write(fd, bytes, count) == static_cast<ssize_t>(count));
  close(fd);
}

// Pages are of one byte each, drawn from the input. A fuzzer guesses neither checks nor hashes:
// `how` says which of them are made to hold before the store sees the files.
void OpenDamaged(uint8_t how, const uint8_t* data, size_t bytes) {
  const size_t page_count = bytes == 0 ? 0 : data[0] % (kFilePagesMax + 1);
  std::vector<uint8_t> pages(page_count * dwcp::kPageBytes);
  for (size_t i = 0; i < page_count; i++) {
    std::memset(&pages[i * dwcp::kPageBytes], data[i % bytes], dwcp::kPageBytes);
  }
  std::vector<uint8_t> index(data, data + bytes);
  if ((how & 1) != 0 && bytes >= dwcp::kSegmentHeaderBytes) {
    dwcp::WriteSegmentHeader(index.data(), *Key(), kSegmentId);
  }
  size_t true_entries = 0;
  for (uint32_t slot = 0; slot < kFilePagesMax; slot++) {
    const size_t at = dwcp::kSegmentHeaderBytes + slot * dwcp::kSegmentEntryBytes;
    if (at + dwcp::kSegmentEntryBytes > bytes || (how & 2) == 0) break;
    dwcp::SegmentEntry entry{};
    std::memcpy(entry.hash.data(), &index[at], entry.hash.size());
    std::memcpy(&entry.fingerprint, &index[at + 32], sizeof entry.fingerprint);
    if ((how & 4) != 0 && slot < page_count) {
      entry.hash = Key()->Hash(&pages[slot * dwcp::kPageBytes]);
      true_entries++;
    }
    dwcp::WriteSegmentEntry(&index[at], entry, slot);
  }
  std::vector<dwcp::SegmentSlot> slots;
  dwcp::ReadSegmentIndex(index.data(), index.size(), *Key(), kSegmentId, &slots);
  // The last page may be torn.
  const size_t torn = (how & 8) != 0 && page_count > 0 ? 1 : 0;
  WriteFile("/0000000000000001.index", index.data(), index.size());
  WriteFile("/0000000000000001.pages", pages.data(), pages.size() - torn);
  try {
    const auto store = dwcp::ContentStore::Open(Folder(), dwcp::kStoreBytesMin, Key());
    alignas(4096) uint8_t page[dwcp::kPageBytes];
    for (const dwcp::SegmentSlot& slot : slots) {
      if (store->Read(slot.entry.hash, page)) Require(Key()->Hash(page) == slot.entry.hash);
    }
    const bool has_true = (how & 1) != 0 && true_entries > torn;
    if (has_true) Require(store->counters().hits > 0);
    // And goes on taking what is new.
    std::memset(page, 0xa5, sizeof page);
    const dwcp::ContentHash hash = Key()->Hash(page);
    const bool held = store->Read(hash, page);
    std::memset(page, 0xa5, sizeof page);
    Require(store->Append(page, {hash, 1}));
    Require(held || store->Read(hash, page));
    for (uint64_t id = 2; id < 4; id++) {
      for (const char* ending : {".index", ".pages"}) {
        unlink((Folder() + "/000000000000000" + std::to_string(id) + ending).c_str());
      }
    }
  } catch (const std::system_error&) {
    // Of another tenant, or another format: left alone.
  }
}

// Frames of pieces, as a stream passes them on once their header was checked.
void Hear(const uint8_t* data, size_t bytes) {
  static const auto store = [] {
    const std::string folder = Folder() + "-heard";
    auto opened = dwcp::ContentStore::Open(folder, dwcp::kStoreBytesMin, Key());
    unlink((folder + "/lock").c_str());
    rmdir(folder.c_str());
    return opened;
  }();
  dwcp::ContentExchange exchange;
  exchange.Share(store);
  uint64_t now_us = 1;
  while (bytes >= 8) {
    dwcp::FrameHeader header{};
    header.type = dwcp::FrameType::kContent;
    header.transfer_id = data[0] % 2;
    header.raw_bytes = 1u + data[1] % 4;
    header.seq = data[2] % header.raw_bytes;
    header.body_bytes = data[3] % 64;
    now_us += data[4] * 10000u;
    if (data[5] % 4 == 0) exchange.Awaits({header.transfer_id, 0}, 1, now_us);
    data += 8;
    bytes -= 8;
    if (header.body_bytes > bytes) return;
    if (!exchange.OnPiece(header, data, now_us)) return;
    data += header.body_bytes;
    bytes -= header.body_bytes;
    if (exchange.filter() == nullptr) continue;
    alignas(64) static const uint8_t page[dwcp::kPageBytes] = {1};
    dwcp::ContentHash hash;
    if (exchange.filter()->Holds(page, dwcp::DigestPage(page), &hash)) {
      Require(hash == Key()->Hash(page));
    }
  }
}

// What is told is what is heard.
void Tell(const uint8_t* data, size_t bytes) {
  std::vector<uint32_t> told(bytes / 4);
  for (size_t i = 0; i < told.size(); i++) std::memcpy(&told[i], data + i * 4, 4);
  std::vector<uint32_t> heard;
  const dwcp::ContentSummary summary = dwcp::Summarise(&told);
  for (const std::vector<uint8_t>& piece : summary.pieces) {
    Require(piece.size() <= dwcp::kContentPieceBytesMax);
    Require(dwcp::ReadPiece(piece.data(), piece.size(), &heard));
  }
  Require(heard == told);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  if (bytes < 2) return 0;
  const uint8_t kind = data[0] % 8;
  const uint8_t how = data[1];
  data += 2;
  bytes -= 2;
  // Files cost more than pieces.
  if (kind == 0) OpenDamaged(how, data, bytes);
  if (kind == 1) Tell(data, bytes);
  if (kind > 1) Hear(data, bytes);
  std::vector<uint32_t> fingerprints;
  dwcp::ReadPiece(data, bytes, &fingerprints);
  std::vector<dwcp::SegmentSlot> slots;
  dwcp::ReadSegmentIndex(data, bytes, *Key(), kSegmentId, &slots);
  return 0;
}
