// A link's share in content caches: as a receiver it tells what its cache holds when a transfer
// opens, as a sender it hears that of its peer. Pieces may come over any stream, in any order; what
// is lost with a stream is not told again, and costs only what would have been saved.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "cache/content_store.h"
#include "cache/peer_contents.h"
#include "engine/frame.h"
#include "engine/transfer_name.h"

namespace dwcp {

class ContentExchange {
 public:
  // Both sides agreed to. From here on.
  void Share(std::shared_ptr<ContentStore> store) {
    source_ = store;
    store_ = std::move(store);
  }
  // Without anything being told: what both ends know of each other otherwise.
  void Set(std::shared_ptr<ContentFilter> filter, std::shared_ptr<ContentSource> source) {
    filter_ = std::move(filter);
    source_ = std::move(source);
  }
  ContentSource* source() const { return source_.get(); }
  // What the peer is known to hold, or null.
  const std::shared_ptr<ContentFilter>& filter() const { return filter_; }

  // As a receiver of this transfer.
  void Announce(const TransferName& name);
  bool NextPiece(FrameHeader* header, const uint8_t** body);

  // As a sender. False for what no peer of ours would say. Frames were checked.
  bool OnPiece(const FrameHeader& header, const uint8_t* body, uint64_t now_us);
  // Is it worth waiting for what the peer will say before the first page of this transfer is
  // encoded? Ends by itself a while after the last piece; what came until then counts.
  bool Awaits(const TransferName& name, uint64_t since_us, uint64_t now_us);
  // On the wire, for this transfer.
  uint64_t HeardBytes(const TransferName& name) const;

 private:
  struct Telling {
    TransferName name;
    std::shared_ptr<const ContentSummary> summary;
    uint32_t next;
  };
  struct Hearing {
    TransferName name{0, 0};
    std::vector<bool> got;  // by piece
    uint32_t missing = 0;
    uint64_t last_us = 0;
    uint64_t wire_bytes = 0;
    std::vector<uint32_t> fingerprints;
  };
  // Null when nothing was heard for this transfer, or so much for later ones that it was forgotten.
  Hearing* HearingOf(const TransferName& name);
  void Settle(Hearing* hearing);

  std::shared_ptr<ContentStore> store_;
  std::shared_ptr<ContentSource> source_;  // the store, but for tests
  std::shared_ptr<ContentFilter> filter_;
  std::deque<Telling> telling_;
  std::shared_ptr<const ContentSummary> told_;  // the piece that was handed out is one of it
  // Of several transfers at a time: their pieces come over any stream, in any order.
  std::deque<Hearing> heard_;
};

}  // namespace dwcp
