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
constexpr uint32_t kEncodedPagesPerChunkMax = 1024;
constexpr uint32_t kZeroFlag = static_cast<uint32_t>(EntryKind::kZero) << 28;

// Records that stand for a page by something that the receiver may lack.
bool MayLack(EntryKind kind) {
  return kind == EntryKind::kKnown || kind == EntryKind::kDelta || kind == EntryKind::kCopy;
}

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

void PageSender::UsePolicy(const CodecPolicy& policy) {
  own_chooser_ = std::make_unique<CodecChooser>(link_->encoders());
  own_chooser_->SetPolicy(policy);
  if (EncodesAhead()) link_->engine()->StartEncoders();
}

CodecChooser& PageSender::chooser() const {
  return own_chooser_ != nullptr ? *own_chooser_ : link_->chooser();
}

bool PageSender::EncodesAhead() const { return chooser().policy().kind != CodecPolicy::Kind::kRaw; }

PageSender::Batch* PageSender::NextBatch() {
  if (resend_ == nullptr && refused_count_ > 0) {
    resend_ = std::make_unique<Batch>(*refused_);
    refused_->Clear();
    refused_count_ = 0;
  }
  if (resend_ != nullptr && !resend_->handed_out()) return resend_.get();
  if (staging_batch_ == batches_.size() || batches_[staging_batch_].handed_out()) return nullptr;
  return &batches_[staging_batch_];
}

// As many pages as a chunk holds, or as many as may be looked at where all are zero.
PageSender::Share PageSender::TakeShare(Batch* batch) {
  if (!batch->left.empty()) {
    const Share share = batch->left.back();
    batch->left.pop_back();
    return share;
  }
  const uint32_t raw_pages_max = link_->chunk_bytes() / kPageBytes;
  const uint32_t pages_max = all_zero_ ? std::max(raw_pages_max, kZeroPagesPerChunkMax)
                                       : std::max(raw_pages_max, pages_per_chunk_);
  const uint64_t first = batch->cursor;
  for (uint32_t i = 0; i < pages_max && batch->cursor < batch->pages.page_count(); i++) {
    batch->cursor = batch->pages.Next(batch->cursor + 1);
  }
  return {first, batch->cursor};
}

bool PageSender::Build(Buffer* buffer, Stream* stream) {
  // Whatever goes unencoded is no base that a later delta could know of.
  baselines_.reset();
  pages_per_chunk_ = 0;
  Batch* batch = NextBatch();
  const Share share = TakeShare(batch);
  batch->building++;
  const uint64_t seq = core_.Reserve(kChunkFrameOverhead + link_->chunk_bytes(), stream->id());
  Keep(seq, buffer);
  // More than one chunk may be admissible: another thread may build the next meanwhile.
  link_->KickOne();
  const uint32_t raw_pages_max = link_->chunk_bytes() / kPageBytes;
  PageDigest* digests = stream->loop()->digests();
  EncodedPages built;
  uint64_t page = share.first;
  {
    Engine::Outside outside(link_->engine());
    MapWriter map(buffer->map());
    while (page < share.end && built.whole < raw_pages_max && !map.full()) {
      const uint64_t next = batch->pages.Next(page + 1);
      if (next < share.end) PrefetchPage(region_->page(next));
      const bool zero = IsZeroPage(region_->page(page));
      map.Add(page, zero);
      if (zero) {
        built.zero++;
      } else {
        digests[built.whole] =
            CopyPageWithDigest(buffer->payload + built.whole * kPageBytes, region_->page(page));
        built.whole++;
      }
      page = next;
    }
    buffer->payload_bytes = buffer->raw_bytes = built.whole * kPageBytes;
    buffer->page_count = built.pages();
    Seal(buffer, seq, FrameType::kChunkPages, map.count(), 0, digests, link_->keys());
  }
  core_.Built(seq, buffer->frame_bytes());
  Count(built);
  Built(batch, share, page);
  return true;
}

void PageSender::Count(const EncodedPages& built) {
  all_zero_ = built.zero == built.pages();
  counters_.zero_pages += built.zero;
  counters_.duplicate_pages += built.known + built.copied;
  counters_.delta_pages += built.delta;
  (built.codec == Codec::kNone ? counters_.raw_pages : counters_.compressed_pages) += built.whole;
  counters_.raw_bytes += uint64_t{built.pages() - built.zero} * kPageBytes;
  named_pages_ += built.named();
}

void PageSender::Built(Batch* batch, const Share& share, uint64_t page) {
  batch->building--;
  if (page < share.end) batch->left.push_back({page, share.end});
  if (!batch->handed_out() || batch->building > 0) return;
  if (batch == resend_.get()) {
    resend_seq_ = core_.next() - 1;
    resend_.reset();
  } else {
    FinishStaging(core_.next() - 1);
  }
}

bool PageSender::AwaitsContent() {
  if (content_settled_) return false;
  const uint64_t now_us = Engine::NowUs();
  if (content_since_us_ == 0) content_since_us_ = now_us;
  if (link_->content().Awaits(name_, content_since_us_, now_us)) return true;
  content_settled_ = true;
  // What it cost is part of what this transfer costs.
  wire_bytes_ += link_->content().HeardBytes(name_);
  return false;
}

bool PageSender::MayEncode() {
  if (failed_ || retired_ || !EncodesAhead() || !HasWork() || AwaitsContent()) return false;
  // What is named by hash or base may be refused: no more of it than the receiver will remember.
  const uint64_t unsettled = refusals_told_ - refusals_heard_;
  if (named_pages_ - named_acked_ + unsettled > kNamedPagesMax) return false;
  return ready_.size() + encoding_ < link_->ahead_max() && HasRoom();
}

void PageSender::EncodeAhead(PageEncoder* encoder) {
  CodecChooser& chooser = this->chooser();
  // It may be tuned while this chunk is built.
  const uint32_t chunk_bytes = link_->chunk_bytes();
  const uint64_t baseline_bytes = chooser.policy().baseline_bytes;
  if (baseline_bytes == 0) baselines_.reset();
  if (baseline_bytes > 0 && baselines_ == nullptr) {
    baselines_ = std::make_shared<Baselines>(region_->page_count(), baseline_bytes);
  }
  const std::shared_ptr<Baselines> baselines = baselines_;
  const std::shared_ptr<ContentFilter> filter = own_chooser_ == nullptr ? link_->filter() : nullptr;
  const CodecChoice choice = chooser.Next();
  // A link may get new keys meanwhile: the chunk is then sealed anew when a stream pulls it.
  const std::shared_ptr<LinkKeys> keys = link_->keys();
  Buffer* buffer = link_->pool().Take();
  Batch* batch = NextBatch();
  const Share share = TakeShare(batch);
  batch->building++;
  const uint64_t seq = core_.Reserve(kChunkFrameOverhead + chunk_bytes, -1);
  Keep(seq, buffer);
  const EncodeContext context{baselines.get(), filter.get(), seq, core_.cumulative(),
                              batch == resend_.get()};
  EncodedPages built;
  uint64_t page = share.first;
  uint64_t took_us;
  {
    Engine::Detached detached(link_->engine(), this);
    const uint64_t start_us = Engine::NowUs();
    encoder->Begin(buffer->map(), chunk_bytes, context);
    while (page < share.end && !encoder->full()) {
      const uint64_t next = batch->pages.Next(page + 1);
      if (next < share.end) PrefetchPage(region_->page(next));
      encoder->Add(page, region_->page(page));
      page = next;
    }
    built = encoder->Finish(choice, buffer->payload);
    buffer->payload_bytes = built.encoded_bytes;
    buffer->raw_bytes = built.raw_bytes;
    buffer->page_count = built.pages();
    buffer->named_pages = built.named();
    Seal(buffer, seq, FrameType::kChunkPages, built.map_entries,
         static_cast<uint32_t>(built.codec) << kCodecShift, nullptr, keys);
    took_us = Engine::NowUs() - start_us;
  }
  buffer->writers--;
  if (failed_) {
    if (buffer->released) link_->pool().Give(buffer);
    return;
  }
  // Small chunks say little, and random ones nothing, of a codec.
  if (!built.random && built.raw_bytes >= chunk_bytes / 2) {
    chooser.Encoded(choice, built.raw_bytes, built.encoded_bytes, took_us);
  }
  const uint32_t pages = built.pages();
  pages_per_chunk_ = page < share.end ? pages : std::min(pages * 2, kEncodedPagesPerChunkMax);
  core_.Ready(seq, buffer->frame_bytes());
  ready_.push_back(seq);
  Count(built);
  Built(batch, share, page);
  link_->KickOne();
}

bool PageSender::OnRefused(uint64_t first, const uint32_t* pages, size_t count) {
  if (failed_) return true;
  // What lies between will be told again.
  if (first > refusals_heard_ + 1) return true;
  for (size_t i = static_cast<size_t>(refusals_heard_ + 1 - first); i < count; i++) {
    if (pages[i] >= page_count() || refusals_heard_ == named_pages_) return false;
    refusals_heard_++;
    if (baselines_ != nullptr) baselines_->Forget(pages[i]);
    if (link_->filter() != nullptr) link_->filter()->Refused();
    if (refused_ == nullptr) refused_ = std::make_unique<PageSet>(page_count());
    if (refused_->Has(pages[i])) continue;
    refused_->Add(pages[i]);
    refused_count_++;
    counters_.pending_pages++;
  }
  link_->Kick();
  return true;
}

void PageSender::Heard(const AckState& ack) {
  // Counted modulo what the frame holds; nobody refuses more than was named.
  const auto newer = static_cast<uint16_t>(ack.refused - static_cast<uint16_t>(refusals_told_));
  if (newer < 0x8000) refusals_told_ += newer;
}

void PageSender::Released(const Buffer& buffer) {
  counters_.pending_pages -= buffer.page_count;
  counters_.acked_bytes += uint64_t{buffer.page_count} * kPageBytes;
  named_acked_ += buffer.named_pages;
}

void PageSender::Advanced() {
  // What the receiver refused must have landed whole first.
  if (refusals_heard_ < refusals_told_ || refused_count_ > 0 || resend_ != nullptr ||
      resend_seq_ > core_.cumulative()) {
    return;
  }
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
  counters.baseline_bytes = baselines_ == nullptr ? 0 : baselines_->bytes();
  return counters;
}

const char* PageReceiver::Check(const FrameHeader& header, Buffer* buffer) {
  if (header.type != FrameType::kChunkPages) return "a chunk of bytes for a transfer of pages";
  const FrameError error = CheckMap(header, buffer->map(), region_->page_count());
  if (error != FrameError::kNone) return FrameErrorText(error);
  size_t named = 0;
  for (uint32_t i = 0; i < header.map_entries; i++) {
    const MapEntry entry = buffer->map()[i];
    if (MayLack(entry.kind())) named += entry.count();
  }
  return refusals_.HasRoom(named) ? nullptr : "names more pages than it hears refusals of";
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
      continue;
    }
    const uint8_t* bytes = source + (page - first) * kPageBytes;
    digests_[page] = digests != nullptr ? digests[page - first] : DigestPage(bytes);
    CopyPage(region_->page(page), bytes);
    if (link_->source() != nullptr) link_->source()->Landed(bytes, digests_[page]);
  }
  return admitted;
}

// The base is what landed here and still stands here; the result is built aside and checked, so
// that nothing but the page that the sender has is ever written.
PageReceiver::Landed PageReceiver::LandDelta(uint64_t seq, uint64_t page, const DeltaRecord& delta,
                                             uint8_t* built) {
  std::lock_guard<std::mutex> lock(StripeOf(page));
  if (!core_.MayAdmit(page, seq)) return Landed::kStale;
  if (digests_[page] != delta.base) return Landed::kMissing;
  std::memcpy(built, region_->page(page), kPageBytes);
  if (DigestPage(built) != delta.base) return Landed::kMissing;
  ApplyDelta(built, delta.runs, delta.bytes);
  if (DigestPage(built) != delta.result) return Landed::kMissing;
  core_.AdmitPage(page, seq);
  CopyPage(region_->page(page), built);
  digests_[page] = delta.result;
  return Landed::kHere;
}

PageReceiver::Landed PageReceiver::LandKnown(uint64_t seq, uint64_t page, const uint8_t* record,
                                             uint8_t* built) {
  ContentHash hash;
  std::memcpy(hash.data(), record, hash.size());
  const bool has = link_->source() != nullptr && link_->source()->Read(hash, built);
  std::lock_guard<std::mutex> lock(StripeOf(page));
  if (!core_.MayAdmit(page, seq)) return Landed::kStale;
  if (!has) return Landed::kMissing;
  core_.AdmitPage(page, seq);
  CopyPage(region_->page(page), built);
  digests_[page] = DigestPage(built);
  return Landed::kHere;
}

// The other page is read as it stands, whatever is on its way to it, and checked to be the one
// that was meant.
PageReceiver::Landed PageReceiver::LandCopy(uint64_t seq, uint64_t page, const CopyRecord& copy,
                                            uint8_t* built) {
  bool has = copy.page < region_->page_count();
  if (has) {
    std::lock_guard<std::mutex> lock(StripeOf(copy.page));
    has = digests_[copy.page] == copy.digest;
    if (has) std::memcpy(built, region_->page(copy.page), kPageBytes);
  }
  has = has && DigestPage(built) == copy.digest;
  std::lock_guard<std::mutex> lock(StripeOf(page));
  if (!core_.MayAdmit(page, seq)) return Landed::kStale;
  if (!has) return Landed::kMissing;
  core_.AdmitPage(page, seq);
  CopyPage(region_->page(page), built);
  digests_[page] = copy.digest;
  return Landed::kHere;
}

bool PageReceiver::Take(const FrameHeader& header, Buffer* buffer, const Landing& landing) {
  uint64_t named = 0;
  uint64_t admitted = 0;
  std::vector<uint32_t>& missing = landing.decoder->missing();
  missing.clear();
  {
    Engine::Outside outside(link_->engine());
    const bool is_plain = landing.records == nullptr;
    const uint8_t* source = is_plain ? buffer->payload : landing.records;
    const PageDigest* digests = is_plain ? landing.digests : nullptr;
    for (uint32_t i = 0; i < header.map_entries; i++) {
      const MapEntry entry = buffer->map()[i];
      const uint64_t end = entry.first_page + uint64_t{entry.count()};
      named += entry.count();
      if (MayLack(entry.kind())) {
        for (uint64_t page = entry.first_page; page < end; page++) {
          uint8_t* built = landing.decoder->page();
          Landed landed;
          if (entry.kind() == EntryKind::kKnown) {
            landed = LandKnown(header.seq, page, source, built);
            source += kKnownBytes;
          } else if (entry.kind() == EntryKind::kCopy) {
            landed = LandCopy(header.seq, page, ReadCopy(source), built);
            source += kCopyBytes;
          } else {
            const DeltaRecord delta = ReadDelta(source);
            landed = LandDelta(header.seq, page, delta, built);
            source += kDeltaHeaderBytes + delta.bytes;
          }
          if (landed == Landed::kHere) admitted++;
          if (landed == Landed::kMissing) missing.push_back(static_cast<uint32_t>(page));
        }
        continue;
      }
      for (uint64_t first = entry.first_page; first < end;) {
        const uint64_t next = std::min(end, (first / kStripePages + 1) * kStripePages);
        admitted += LandRun(header.seq, first, next, entry.zero(), source, digests);
        if (!entry.zero()) {
          source += (next - first) * kPageBytes;
          if (digests != nullptr) digests += next - first;
        }
        first = next;
      }
    }
  }
  counters_.landed_pages += admitted;
  counters_.refused_pages += missing.size();
  counters_.stale_pages += named - admitted - missing.size();
  counters_.landed_bytes += header.raw_bytes;
  // Before the chunk counts as landed: its acknowledgement then carries their number.
  for (const uint32_t page : missing) refusals_.Add(page);
  core_.Landed(header.seq);
  return false;
}

void PageReceiver::Fail(const std::string& code, const std::string& message) {
  if (failed_) return;
  failed_ = true;
  link_->engine()->Emit(Event{"receiveFailed", handle_, code, message, 0, {}, {}});
}

}  // namespace dwcp
