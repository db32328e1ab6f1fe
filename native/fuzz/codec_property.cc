// Random pages and edits, encoded and decoded for as long as it is told: what lands is what was
// there, under every codec, with deltas, known contents and bases that went bad.
// Usage: codec_property SECONDS [SEED]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "codec/page_decoder.h"
#include "codec/page_encoder.h"
#include "fuzz/memory_content.h"
#include "memory/region.h"

namespace {

using dwcp::kPageBytes;
using Random = std::mt19937_64;
constexpr uint64_t kPages = 300;

[[noreturn]] void Die(const char* what, uint64_t seed) {
  fprintf(stderr, "codec_property: %s (seed %llu)\n", what, static_cast<unsigned long long>(seed));
  abort();
}

struct Tally {
  uint64_t rounds = 0, chunks = 0, deltas = 0, known = 0, compressed = 0, missing = 0, copied = 0;
};

class Round {
 public:
  explicit Round(uint64_t seed, Tally& tally)
      : seed_(seed),
        random_(seed),
        tally_(tally),
        from_(kPages * kPageBytes),
        to_(kPages * kPageBytes, 0x77),
        baselines_(kPages, random_() % 4 * 512 * 1024) {}

  void Run() {
    for (uint64_t page = 0; page < kPages; page++) Rewrite(page);
    for (int batch = 0; batch < 4; batch++) {
      for (uint64_t i = random_() % 40; i > 0; i--) {
        content_.Learn(From(random_() % kPages), random_() % 4 != 0);
      }
      if (random_() % 2 == 0) To(random_() % kPages)[random_() % kPageBytes] ^= 1;
      std::vector<uint32_t> all(kPages);
      for (uint32_t page = 0; page < kPages; page++) all[page] = page;
      std::vector<uint32_t> missing = Carry(all, false);
      tally_.missing += missing.size();
      if (!Carry(missing, true).empty()) Die("a whole page was refused", seed_);
      if (from_ != to_) Die("memory differs", seed_);
      for (uint64_t page = 0; page < kPages; page++) Edit(page);
    }
    tally_.rounds++;
  }

 private:
  uint8_t* From(uint64_t page) { return from_.data() + page * kPageBytes; }
  uint8_t* To(uint64_t page) { return to_.data() + page * kPageBytes; }

  void Rewrite(uint64_t page) {
    if (random_() % 4 == 0) {
      std::memmove(From(page), From(random_() % kPages), kPageBytes);
      return;
    }
    auto* words = reinterpret_cast<uint64_t*>(From(page));
    const uint64_t kind = random_() % 4;
    for (size_t i = 0; i < 512; i++) {
      words[i] = kind == 0 ? 0 : kind == 1 ? random_() : kind == 2 ? i * page : random_() % 50;
    }
  }
  void Edit(uint64_t page) {
    const uint64_t kind = random_() % 8;
    if (kind == 0) Rewrite(page);
    if (kind < 3) return;
    // From a single byte to more than a delta may hold.
    for (uint64_t i = random_() % (kind == 3 ? 700 : 30); i > 0; i--) {
      From(page)[random_() % kPageBytes] = static_cast<uint8_t>(random_());
    }
  }

  std::vector<uint32_t> Carry(const std::vector<uint32_t>& pages, bool whole) {
    std::vector<uint32_t> missing;
    const uint32_t chunk_bytes = static_cast<uint32_t>(kPageBytes << random_() % 8);
    for (size_t next = 0; next < pages.size();) {
      std::vector<dwcp::MapEntry> map(dwcp::kMapEntriesMax);
      std::vector<uint8_t> out(chunk_bytes);
      seq_++;
      // Everything before was acknowledged, mostly.
      const uint64_t acked = random_() % 16 == 0 ? 0 : seq_ - 1;
      encoder_.Begin(map.data(), chunk_bytes, {&baselines_, &content_, seq_, acked, whole});
      while (next < pages.size() && !encoder_.full()) {
        encoder_.Add(pages[next], From(pages[next]));
        next++;
      }
      const dwcp::EncodedPages built = encoder_.Finish(Draw(), out.data());
      dwcp::FrameHeader header{};
      header.type = dwcp::FrameType::kChunkPages;
      header.flags = static_cast<uint32_t>(built.codec) << dwcp::kCodecShift;
      header.map_entries = built.map_entries;
      header.raw_bytes = built.raw_bytes;
      header.encoded_bytes = built.encoded_bytes;
      if (dwcp::CheckMap(header, map.data(), kPages) != dwcp::FrameError::kNone) {
        Die("the map is refused", seed_);
      }
      out.resize(built.encoded_bytes);
      const uint8_t* records = decoder_.Decode(header, map.data(), out.data());
      if (records == nullptr) Die("a chunk does not decode", seed_);
      map.resize(built.map_entries);
      Land(map, records, &missing);
      tally_.chunks++;
      tally_.deltas += built.delta;
      tally_.known += built.known;
      tally_.copied += built.copied;
      if (built.codec != dwcp::Codec::kNone) tally_.compressed += built.whole;
    }
    for (const uint32_t page : missing) baselines_.Forget(page);
    return missing;
  }
  dwcp::CodecChoice Draw() {
    const uint64_t kind = random_() % 4;
    if (kind == 0) return {};
    if (kind == 1) return {dwcp::Codec::kLz4, 1};
    return {dwcp::Codec::kZstd, static_cast<int>(1 + random_() % 5)};
  }
  void Land(const std::vector<dwcp::MapEntry>& map, const uint8_t* at,
            std::vector<uint32_t>* missing) {
    for (const dwcp::MapEntry& entry : map) {
      for (uint32_t i = 0; i < entry.count(); i++) {
        const uint32_t page = entry.first_page + i;
        if (entry.kind() == dwcp::EntryKind::kZero) {
          std::memset(To(page), 0, kPageBytes);
        } else if (entry.kind() == dwcp::EntryKind::kWhole) {
          std::memcpy(To(page), at, kPageBytes);
          at += kPageBytes;
        } else if (entry.kind() == dwcp::EntryKind::kKnown) {
          dwcp::ContentHash hash;
          std::memcpy(hash.data(), at, hash.size());
          at += hash.size();
          if (!content_.Read(hash, To(page))) missing->push_back(page);
        } else if (entry.kind() == dwcp::EntryKind::kCopy) {
          const dwcp::CopyRecord copy = dwcp::ReadCopy(at);
          at += dwcp::kCopyBytes;
          if (dwcp::DigestPage(To(copy.page)) == copy.digest) {
            std::memcpy(To(page), To(copy.page), kPageBytes);
          } else {
            missing->push_back(page);
          }
        } else {
          const dwcp::DeltaRecord delta = dwcp::ReadDelta(at);
          at += dwcp::kDeltaHeaderBytes + delta.bytes;
          if (dwcp::DigestPage(To(page)) != delta.base) {
            missing->push_back(page);
            continue;
          }
          dwcp::ApplyDelta(To(page), delta.runs, delta.bytes);
          if (dwcp::DigestPage(To(page)) != delta.result) Die("a delta gives another page", seed_);
        }
      }
    }
  }

  uint64_t seed_;
  Random random_;
  Tally& tally_;
  std::vector<uint8_t> from_, to_;
  dwcp::Baselines baselines_;
  dwcp::MemoryContent content_;
  dwcp::PageEncoder encoder_;
  dwcp::PageDecoder decoder_;
  uint64_t seq_ = 0;
};

void KernelsAgree(Random& random, uint64_t seed) {
  alignas(32) uint8_t a[kPageBytes], b[kPageBytes];
  for (uint8_t& byte : a) byte = static_cast<uint8_t>(random());
  std::memcpy(b, a, sizeof b);
  for (uint64_t i = random() % 600; i > 0; i--) b[random() % kPageBytes] ^= 1;
  const dwcp::WordSet fast = dwcp::DifferentWords(a, b);
  const dwcp::WordSet slow = dwcp::scalar::DifferentWords(a, b);
  if (std::memcmp(&fast, &slow, sizeof fast) != 0) Die("a kernel differs from its twin", seed);
}

}  // namespace

int main(int count, char** arguments) {
  const double seconds = count > 1 ? atof(arguments[1]) : 10;
  uint64_t seed = count > 2 ? strtoull(arguments[2], nullptr, 10) : std::random_device{}();
  fprintf(stderr, "codec_property: first seed %llu\n", static_cast<unsigned long long>(seed));
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  Tally tally;
  while (Clock::now() < end) {
    Random random(seed);
    for (int i = 0; i < 20; i++) KernelsAgree(random, seed);
    Round(seed++, tally).Run();
  }
  printf(
      "codec_property: rounds=%llu chunks=%llu deltas=%llu known=%llu compressed=%llu "
      "missing=%llu copied=%llu\n",
      static_cast<unsigned long long>(tally.rounds), static_cast<unsigned long long>(tally.chunks),
      static_cast<unsigned long long>(tally.deltas), static_cast<unsigned long long>(tally.known),
      static_cast<unsigned long long>(tally.compressed),
      static_cast<unsigned long long>(tally.missing),
      static_cast<unsigned long long>(tally.copied));
  const bool named = tally.deltas > 0 && tally.known > 0 && tally.copied > 0;
  return named && tally.compressed > 0 && tally.missing > 0 ? 0 : 1;
}
