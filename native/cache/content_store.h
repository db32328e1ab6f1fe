// Pages by their keyed hash, on disk, within a bound: segments that are only appended to and thrown
// away whole, the least used first. Nothing is synced: what a crash tears is found by its hash, and
// is then a page that is not here.
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache/content_key.h"
#include "cache/content_summary.h"
#include "cache/segment_index.h"

namespace dwcp {

// Each costs a descriptor.
constexpr size_t kSegmentsMax = 256;
// A segment is this part of the bound, so that one that is thrown away is no great loss.
constexpr uint64_t kSegmentsWanted = 32;
constexpr uint64_t kStoreBytesMin = 1u << 20;

struct StoreCounters {
  uint64_t pages = 0, bytes = 0, bytes_max = 0, segments = 0;
  uint64_t hits = 0, misses = 0, corrupt_pages = 0;
  uint64_t stored_pages = 0, evicted_pages = 0, damaged_segments = 0, write_errors = 0;
};

class ContentStore final : public ContentSource {
 public:
  // Throws std::system_error; ENOTUNIQ when another process has the directory, EMEDIUMTYPE when it
  // holds another format, EACCES when it is another tenant's. Damaged segments are removed.
  static std::shared_ptr<ContentStore> Open(const std::string& directory, uint64_t bytes_max,
                                            std::shared_ptr<const ContentKey> key);
  ~ContentStore() override;

  const std::shared_ptr<const ContentKey>& key() const { return key_; }
  bool Read(const ContentHash& hash, uint8_t* out) override;
  // Pages are stored when a move is over: see ContentFiller.
  void Landed(const uint8_t*, PageDigest) override {}
  // Is it here? Then its segment counts as used.
  bool Has(const ContentHash& hash);
  // By one thread at a time. What is here is not stored again. False when the disk does not take
  // it.
  bool Append(const uint8_t* page, const SegmentEntry& entry);
  // As of the last Summarise.
  std::shared_ptr<const ContentSummary> summary();
  void Summarise();
  StoreCounters counters();

 private:
  struct Segment;
  struct Place {
    std::shared_ptr<Segment> segment;
    uint32_t slot;
  };

  ContentStore(std::string directory, uint64_t bytes_max, std::shared_ptr<const ContentKey> key);
  void Lock();
  void Load();
  void LoadSegment(uint64_t id);
  std::string PathOf(uint64_t id, const char* ending) const;
  void Index(const std::shared_ptr<Segment>& segment, const SegmentEntry& entry, uint32_t slot);
  // Makes a segment to append to, and room for it.
  bool Begin();
  void Seal();
  void EvictOne();
  void Remove(const std::shared_ptr<Segment>& segment);
  uint64_t Bytes() const;

  const std::string directory_;
  const uint64_t bytes_max_;
  const uint32_t segment_pages_;
  const std::shared_ptr<const ContentKey> key_;
  int lock_fd_ = -1;
  std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Segment>> segments_;
  std::shared_ptr<Segment> open_;
  // By the first word of the hash; the rest is checked on every page that is read.
  std::unordered_map<uint64_t, Place> places_;
  uint64_t next_id_ = 1;
  uint64_t uses_ = 0;
  StoreCounters counters_;
  std::shared_ptr<const ContentSummary> summary_;
};

}  // namespace dwcp
