// Pages of a region: the map says which, zero pages are never bytes, each page is read once.
#include <algorithm>
#include <cstring>

#include "engine/engine.h"
#include "engine/link.h"
#include "engine/transfer.h"

namespace dwcp {
namespace {

constexpr size_t kBatchesMax = 64;
// Looking at zero pages costs time but no payload: a chunk of them ends here all the same, so that
// no stream waits long for the thread.
constexpr uint32_t kZeroPagesPerChunkMax = 8192;
constexpr uint32_t kZeroFlag = 0x80000000u;

class MapWriter {
 public:
  explicit MapWriter(MapEntry* map) : map_(map) {}
  bool full() const { return count_ == kMapEntriesMax; }
  uint32_t count() const { return count_; }
  void Add(uint64_t page, bool zero) {
    if (count_ > 0) {
      MapEntry& last = map_[count_ - 1];
      if (last.zero() == zero && last.first_page + uint64_t{last.count()} == page) {
        last.count_and_zero++;
        return;
      }
    }
    map_[count_++] = MapEntry{static_cast<uint32_t>(page), 1 | (zero ? kZeroFlag : 0)};
  }

 private:
  MapEntry* map_;
  uint32_t count_ = 0;
};

}  // namespace

PageSender::PageSender(Link* link, int handle, TransferName name, uint64_t window_bytes,
                       std::shared_ptr<Region> region)
    : Sender(link, handle, name, window_bytes),
      region_(std::move(region)),
      digests_(link->chunk_bytes() / kPageBytes) {}

bool PageSender::Send(const PageSet& pages) {
  if (batches_.size() >= kBatchesMax) return false;
  if (failed_) return true;
  counters_.pending_pages += pages.Size();
  batches_.push_back(Batch{pages});
  if (pages.Size() == 0 && staging_batch_ + 1 == batches_.size()) FinishStaging(core_.next() - 1);
  Advanced();
  link_->Kick();
  return true;
}

// Marks the current batch, and empty ones behind it, as staged up to `last_seq`.
void PageSender::FinishStaging(uint64_t last_seq) {
  do {
    batches_[staging_batch_].staged = true;
    batches_[staging_batch_].last_seq = last_seq;
    staging_batch_++;
  } while (staging_batch_ < batches_.size() && batches_[staging_batch_].pages.Size() == 0);
}

bool PageSender::Build(Buffer* buffer) {
  Batch& batch = batches_[staging_batch_];
  MapWriter map(buffer->map());
  const uint32_t raw_pages_max = link_->chunk_bytes() / kPageBytes;
  uint32_t raw_pages = 0;
  uint32_t zero_pages = 0;
  uint64_t page = batch.pages.Next(batch.cursor);
  while (page < batch.pages.page_count() && raw_pages < raw_pages_max &&
         zero_pages < kZeroPagesPerChunkMax && !map.full()) {
    const bool zero = IsZeroPage(region_->page(page));
    map.Add(page, zero);
    if (zero) {
      zero_pages++;
    } else {
      digests_[raw_pages] =
          CopyPageWithDigest(buffer->payload + raw_pages * kPageBytes, region_->page(page));
      raw_pages++;
    }
    page = batch.pages.Next(page + 1);
  }
  batch.cursor = page;
  buffer->payload_bytes = raw_pages * kPageBytes;
  buffer->page_count = raw_pages + zero_pages;
  counters_.zero_pages += zero_pages;
  counters_.raw_pages += raw_pages;
  counters_.raw_bytes += buffer->payload_bytes;
  Seal(buffer, FrameType::kChunkPages, map.count(), 0, digests_.data());
  if (page >= batch.pages.page_count()) FinishStaging(core_.next());
  return true;
}

void PageSender::Released(const Buffer& buffer) {
  counters_.pending_pages -= buffer.page_count;
  counters_.acked_bytes += uint64_t{buffer.page_count} * kPageBytes;
}

void PageSender::Advanced() {
  while (!batches_.empty() && batches_.front().staged &&
         batches_.front().last_seq <= core_.cumulative()) {
    batches_.pop_front();
    staging_batch_--;
    link_->engine()->Emit(Event{"batchAcked", handle_, "", "", 0, {}, {}});
  }
}

void PageSender::Fail(const std::string& code, const std::string& message) {
  if (failed_) return;
  failed_ = true;
  Drop();
  link_->engine()->Emit(Event{"sendFailed", handle_, code, message, 0, {}, {}});
}

SendCounters PageSender::counters() const {
  SendCounters counters = counters_;
  counters.wire_bytes = wire_bytes_;
  return counters;
}

const char* PageReceiver::Check(const FrameHeader& header, Buffer* buffer) {
  if (header.type != FrameType::kChunkPages) return "a chunk of bytes for a transfer of pages";
  const FrameError error = CheckMap(header, buffer->map(), region_->page_count());
  return error == FrameError::kNone ? nullptr : FrameErrorText(error);
}

bool PageReceiver::Take(const FrameHeader& header, Buffer* buffer, const PageDigest* digests) {
  static const PageDigest zero_digest = [] {
    alignas(64) const uint8_t zeros[kPageBytes] = {};
    return DigestPage(zeros);
  }();
  const uint8_t* source = buffer->payload;
  for (uint32_t i = 0; i < header.map_entries; i++) {
    const MapEntry entry = buffer->map()[i];
    for (uint64_t page = entry.first_page; page < entry.first_page + uint64_t{entry.count()};
         page++) {
      const bool admitted = core_.AdmitPage(page, header.seq);
      counters_.landed_pages += admitted ? 1 : 0;
      counters_.stale_pages += admitted ? 0 : 1;
      if (entry.zero()) {
        if (!admitted) continue;
        // A page that is zero already is not touched: memory of the guest stays unallocated.
        if (!IsZeroPage(region_->page(page))) std::memset(region_->page(page), 0, kPageBytes);
        digests_[page] = zero_digest;
      } else {
        if (admitted) {
          CopyPage(region_->page(page), source);
          digests_[page] = *digests;
        }
        source += kPageBytes;
        digests++;
      }
    }
  }
  counters_.landed_bytes += header.raw_bytes;
  core_.Landed(header.seq);
  return false;
}

void PageReceiver::Fail(const std::string& code, const std::string& message) {
  if (failed_) return;
  failed_ = true;
  link_->engine()->Emit(Event{"receiveFailed", handle_, code, message, 0, {}, {}});
}

}  // namespace dwcp
