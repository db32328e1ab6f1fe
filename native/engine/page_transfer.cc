// Pages of a region: the map says which, zero pages are never bytes, each page is read once.
#include <algorithm>
#include <cstring>

#include "engine/engine.h"
#include "engine/link.h"
#include "engine/stream.h"
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
    : Sender(link, handle, name, window_bytes), region_(std::move(region)) {}

bool PageSender::Send(const PageSet& pages) {
  if (batches_.size() >= kBatchesMax) return false;
  if (failed_) return true;
  counters_.pending_pages += pages.Size();
  batches_.emplace_back(pages);
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

// As many pages as a chunk holds, or as many as may be looked at where all are zero.
PageSender::Share PageSender::TakeShare(Batch* batch) {
  if (!batch->left.empty()) {
    const Share share = batch->left.back();
    batch->left.pop_back();
    return share;
  }
  const uint32_t raw_pages_max = link_->chunk_bytes() / kPageBytes;
  const uint32_t pages_max =
      all_zero_ ? std::max(raw_pages_max, kZeroPagesPerChunkMax) : raw_pages_max;
  const uint64_t first = batch->cursor;
  for (uint32_t i = 0; i < pages_max && batch->cursor < batch->pages.page_count(); i++) {
    batch->cursor = batch->pages.Next(batch->cursor + 1);
  }
  return {first, batch->cursor};
}

bool PageSender::Build(Buffer* buffer, Stream* stream) {
  Batch& batch = batches_[staging_batch_];
  const Share share = TakeShare(&batch);
  batch.building++;
  const uint64_t seq = core_.Reserve(kChunkFrameOverhead + link_->chunk_bytes(), stream->id());
  Keep(seq, buffer);
  // More than one chunk may be admissible: another thread may build the next meanwhile.
  link_->KickOne();
  const uint32_t raw_pages_max = link_->chunk_bytes() / kPageBytes;
  PageDigest* digests = stream->loop()->digests();
  uint32_t raw_pages = 0;
  uint32_t zero_pages = 0;
  uint64_t page = share.first;
  {
    Engine::Outside outside(link_->engine());
    MapWriter map(buffer->map());
    while (page < share.end && raw_pages < raw_pages_max && !map.full()) {
      const uint64_t next = batch.pages.Next(page + 1);
      if (next < share.end) PrefetchPage(region_->page(next));
      const bool zero = IsZeroPage(region_->page(page));
      map.Add(page, zero);
      if (zero) {
        zero_pages++;
      } else {
        digests[raw_pages] =
            CopyPageWithDigest(buffer->payload + raw_pages * kPageBytes, region_->page(page));
        raw_pages++;
      }
      page = next;
    }
    buffer->payload_bytes = raw_pages * kPageBytes;
    buffer->page_count = raw_pages + zero_pages;
    Seal(buffer, seq, FrameType::kChunkPages, map.count(), 0, digests);
  }
  core_.Built(seq, buffer->frame_bytes());
  all_zero_ = raw_pages == 0;
  counters_.zero_pages += zero_pages;
  counters_.raw_pages += raw_pages;
  counters_.raw_bytes += buffer->payload_bytes;
  batch.building--;
  if (page < share.end) batch.left.push_back({page, share.end});
  if (batch.handed_out() && batch.building == 0) FinishStaging(core_.next() - 1);
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

uint32_t PageReceiver::LandRun(uint64_t seq, uint64_t first, uint64_t end, bool zero,
                               const uint8_t* source, const PageDigest* digests) {
  static const PageDigest zero_digest = [] {
    alignas(64) const uint8_t zeros[kPageBytes] = {};
    return DigestPage(zeros);
  }();
  uint32_t admitted = 0;
  std::lock_guard<std::mutex> lock(StripeOf(first));
  for (uint64_t page = first; page < end; page++) {
    if (!core_.AdmitPage(page, seq)) continue;
    admitted++;
    if (zero) {
      // A page that is zero already is not touched: memory of the guest stays unallocated.
      if (!IsZeroPage(region_->page(page))) std::memset(region_->page(page), 0, kPageBytes);
      digests_[page] = zero_digest;
    } else {
      CopyPage(region_->page(page), source + (page - first) * kPageBytes);
      digests_[page] = digests[page - first];
    }
  }
  return admitted;
}

bool PageReceiver::Take(const FrameHeader& header, Buffer* buffer, const PageDigest* digests) {
  uint64_t named = 0;
  uint64_t admitted = 0;
  {
    Engine::Outside outside(link_->engine());
    const uint8_t* source = buffer->payload;
    for (uint32_t i = 0; i < header.map_entries; i++) {
      const MapEntry entry = buffer->map()[i];
      const uint64_t end = entry.first_page + uint64_t{entry.count()};
      named += entry.count();
      for (uint64_t first = entry.first_page; first < end;) {
        const uint64_t next = std::min(end, (first / kStripePages + 1) * kStripePages);
        admitted += LandRun(header.seq, first, next, entry.zero(), source, digests);
        if (!entry.zero()) {
          source += (next - first) * kPageBytes;
          digests += next - first;
        }
        first = next;
      }
    }
  }
  counters_.landed_pages += admitted;
  counters_.stale_pages += named - admitted;
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
