// The two ends of a transfer. The rules are in link_core; here is what they move.
#pragma once
#include <array>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "codec/chooser.h"
#include "codec/page_decoder.h"
#include "codec/page_encoder.h"
#include "crypto/link_keys.h"
#include "engine/link_core.h"
#include "engine/pollable.h"
#include "engine/refusal_log.h"
#include "engine/staging.h"
#include "engine/transfer_name.h"
#include "memory/page_kernels.h"
#include "memory/page_set.h"
#include "memory/region.h"

namespace dwcp {

class Link;
class Stream;

struct SendCounters {
  uint64_t zero_pages = 0, duplicate_pages = 0, delta_pages = 0, compressed_pages = 0;
  uint64_t raw_pages = 0, raw_bytes = 0, wire_bytes = 0, acked_bytes = 0;
  uint64_t pending_pages = 0, local_bytes = 0, baseline_bytes = 0;
};

struct ReceiveCounters {
  uint64_t landed_pages = 0, stale_pages = 0, landed_bytes = 0, local_bytes = 0, wire_bytes = 0;
  uint64_t refused_pages = 0;
};

// A verified chunk as it is landed: the digests of its pages where it is plain, else its records.
struct Landing {
  const PageDigest* digests = nullptr;
  const uint8_t* records = nullptr;
  PageDecoder* decoder = nullptr;
};

// Sending end: makes chunks when a stream pulls, keeps each until it is acknowledged.
class Sender {
 public:
  Sender(Link* link, int handle, TransferName name, uint64_t window_bytes)
      : link_(link), handle_(handle), name_(name), core_(window_bytes) {}
  virtual ~Sender() = default;

  const TransferName& name() const { return name_; }
  int handle() const { return handle_; }
  // A re-injection or a new chunk for this stream, or null. It is built on the caller's thread.
  Buffer* Pull(Stream* stream, bool* reinjected);
  // A stream that asks now would get a chunk.
  bool MayPull();
  void LimitOutstanding(uint64_t bytes) { core_.LimitOutstanding(bytes); }
  bool OnAck(const AckState& ack);
  // Is there something that only room in the window keeps back?
  bool WantsRoom();
  // An encode worker that asks now would get a chunk to build.
  virtual bool MayEncode() { return false; }
  // On a worker, under the lock, after MayEncode: builds one chunk ahead. Leaves the lock.
  virtual void EncodeAhead(PageEncoder*) {}
  // From here on no worker starts for it; it may be freed once none is `encoding`.
  void Retire() { retired_ = true; }
  bool encoding() const { return encoding_ > 0; }
  // The receiver lacks what these pages were named by; false when it cannot.
  virtual bool OnRefused(uint64_t, const uint32_t*, size_t) { return false; }
  virtual uint64_t refusals_heard() const { return 0; }
  // Whatever the link does, chunks of this one travel over its oldest stream only.
  void UseOneStream() { one_stream_ = true; }
  bool uses_one_stream() const { return one_stream_; }
  uint32_t StreamDown(int stream) { return core_.StreamDown(stream); }
  virtual void Fail(const std::string& code, const std::string& message) = 0;
  virtual SendCounters counters() const = 0;
  // Gives all staging back; buffers that a stream still writes go back with that stream.
  void Drop();

 protected:
  friend class Engine;
  virtual bool HasWork() = 0;
  // Chunks are built by workers: a pull only takes what is ready.
  virtual bool EncodesAhead() const { return false; }
  virtual void Heard(const AckState&) {}
  // Fills the buffer with the next chunk, names and seals it; false when there was nothing after
  // all. May go Outside, so other threads may be building at the same time.
  virtual bool Build(Buffer* buffer, Stream* stream) = 0;
  virtual void Released(const Buffer& buffer) = 0;
  virtual void Advanced() = 0;  // the cumulative moved
  bool HasRoom() const;
  // From here on the buffer is chunk `seq`, kept until acknowledged.
  void Keep(uint64_t seq, Buffer* buffer);
  // Header, map and tag around what Build put in; `digests` are those of the pages of a plain
  // chunk, or null.
  void Seal(Buffer* buffer, uint64_t seq, FrameType type, uint32_t map_entries, uint32_t flags,
            const PageDigest* digests, const std::shared_ptr<LinkKeys>& keys) const;

  Link* link_;
  int handle_;
  TransferName name_;
  SendCore core_;
  std::array<Buffer*, kOutstandingMax> staged_{};
  std::deque<uint64_t> ready_;  // built ahead, in no stream's hands yet
  uint32_t encoding_ = 0;       // workers that build right now
  uint64_t wire_bytes_ = 0;
  bool failed_ = false;
  bool retired_ = false;
  bool one_stream_ = false;
};

class PageSender final : public Sender {
 public:
  PageSender(Link* link, int handle, TransferName name, uint64_t window_bytes,
             std::shared_ptr<Region> region);
  // From the first chunk on: its own policy instead of the link's, and no known contents.
  void UsePolicy(const CodecPolicy& policy);
  // False when too many batches wait.
  bool Send(const PageSet& pages);
  void Fail(const std::string& code, const std::string& message) override;
  SendCounters counters() const override;
  uint64_t page_count() const { return region_->page_count(); }
  bool MayEncode() override;
  void EncodeAhead(PageEncoder* encoder) override;
  bool OnRefused(uint64_t first, const uint32_t* pages, size_t count) override;
  uint64_t refusals_heard() const override { return refusals_heard_; }

 private:
  // The pages of a batch from `first` up to `end`: what one thread builds a chunk of.
  struct Share {
    uint64_t first;
    uint64_t end;
  };
  struct Batch {
    explicit Batch(const PageSet& set) : pages(set), cursor(set.Next(0)) {}
    bool handed_out() const { return cursor >= pages.page_count() && left.empty(); }

    PageSet pages;
    uint64_t cursor;          // the first page that nobody took yet
    std::vector<Share> left;  // of shares that did not fit in their chunk
    uint32_t building = 0;    // chunks that are being built
    uint64_t last_seq = 0;    // every page is in a chunk up to this sequence, once `staged`
    bool staged = false;
  };
  bool HasWork() override { return NextBatch() != nullptr; }
  bool EncodesAhead() const override;
  void Heard(const AckState& ack) override;
  bool Build(Buffer* buffer, Stream* stream) override;
  // Whose pages go into the next chunk: refused ones first.
  Batch* NextBatch();
  Share TakeShare(Batch* batch);
  void Count(const EncodedPages& built);
  // A chunk of this batch was built; of `share`, the pages from `page` on did not fit.
  void Built(Batch* batch, const Share& share, uint64_t page);
  void Released(const Buffer& buffer) override;
  void Advanced() override;
  void FinishStaging(uint64_t last_seq);
  // What the peer holds is about to be told, and pages are cheaper then.
  bool AwaitsContent();

  std::shared_ptr<Region> region_;
  uint64_t content_since_us_ = 0;  // asked for the first time
  bool content_settled_ = false;
  std::deque<Batch> batches_;
  size_t staging_batch_ = 0;  // index of the batch being staged
  SendCounters counters_;
  bool all_zero_ = false;  // so was the last chunk
  // Of encoded chunks: as many pages as filled the last one.
  uint32_t pages_per_chunk_ = 0;
  CodecChooser& chooser() const;
  std::unique_ptr<CodecChooser> own_chooser_;
  std::shared_ptr<Baselines> baselines_;
  uint64_t named_pages_ = 0;  // sent as a delta or by their hash, ever
  uint64_t named_acked_ = 0;
  uint64_t refusals_told_ = 0, refusals_heard_ = 0;
  std::unique_ptr<PageSet> refused_;  // not yet in `resend_`
  uint64_t refused_count_ = 0;
  std::unique_ptr<Batch> resend_;
  uint64_t resend_seq_ = 0;  // every refused page was sent whole up to here, once `resend_` is null
};

// Receiving end.
class Receiver {
 public:
  Receiver(Link* link, int handle, TransferName name, uint64_t window_bytes, uint64_t page_count)
      : link_(link), handle_(handle), name_(name), core_(window_bytes, page_count) {}
  virtual ~Receiver() = default;

  const TransferName& name() const { return name_; }
  int handle() const { return handle_; }
  ReceiveCore& core() { return core_; }
  // Null, or what is wrong with this chunk for this transfer.
  virtual const char* Check(const FrameHeader& header, Buffer* buffer) = 0;
  // A verified, checked and claimed chunk. True when the buffer was kept. May go Outside.
  virtual bool Take(const FrameHeader& header, Buffer* buffer, const Landing& landing) = 0;
  RefusalLog& refusals() { return refusals_; }
  virtual void Fail(const std::string& code, const std::string& message) = 0;
  ReceiveCounters counters() const { return counters_; }

  uint64_t generation = 0;  // of its acknowledgement; each stream remembers the last it sent

 protected:
  Link* link_;
  int handle_;
  TransferName name_;
  ReceiveCore core_;
  ReceiveCounters counters_;
  RefusalLog refusals_;
  bool failed_ = false;
};

class PageReceiver final : public Receiver {
 public:
  PageReceiver(Link* link, int handle, TransferName name, uint64_t window_bytes,
               std::shared_ptr<Region> region)
      : Receiver(link, handle, name, window_bytes, region->page_count()),
        region_(std::move(region)),
        digests_(region_->page_count(), kNeverLanded) {}
  const char* Check(const FrameHeader& header, Buffer* buffer) override;
  bool Take(const FrameHeader& header, Buffer* buffer, const Landing& landing) override;
  void Fail(const std::string& code, const std::string& message) override;
  const std::vector<PageDigest>& digests() const { return digests_; }

 private:
  // Chunks land on several threads: whoever writes a page holds its stripe from the look at its
  // version to the last byte, so an older chunk can not overtake a newer one half way.
  static constexpr uint64_t kStripePages = 256;
  static constexpr size_t kStripes = 64;
  std::mutex& StripeOf(uint64_t page) { return stripes_[page / kStripePages % kStripes]; }
  // The pages of one entry within one stripe. Returns how many were admitted.
  uint32_t LandRun(uint64_t seq, uint64_t first, uint64_t end, bool zero, const uint8_t* source,
                   const PageDigest* digests);

  enum class Landed { kHere, kStale, kMissing };
  Landed LandDelta(uint64_t seq, uint64_t page, const DeltaRecord& delta, uint8_t* built);
  Landed LandCopy(uint64_t seq, uint64_t page, const CopyRecord& copy, uint8_t* built);
  Landed LandKnown(uint64_t seq, uint64_t page, const uint8_t* record, uint8_t* built);

  std::shared_ptr<Region> region_;
  std::vector<PageDigest> digests_;
  std::array<std::mutex, kStripes> stripes_;
};

// The local end of a carried byte stream: a unix socket that tells its owner when it is ready.
class LocalSocket final : public Pollable {
 public:
  using Ready = void (*)(void* owner, uint32_t events);
  LocalSocket(Engine* engine, int fd, uint32_t interest, void* owner, Ready ready);
  void OnEvents(uint32_t events) override { ready_(owner_, events); }
  void Watch(uint32_t bit, bool wanted) { Want(bit, wanted); }
  void Shut() { CloseFd(); }
  void Ignore() { Deafen(); }

 private:
  void* owner_;
  Ready ready_;
};

class ByteSender final : public Sender {
 public:
  ByteSender(Link* link, int handle, TransferName name, uint64_t window_bytes, int listen_fd,
             std::string path);
  ~ByteSender() override;
  void WriteReturn(const uint8_t* bytes, size_t count);
  void Fail(const std::string& code, const std::string& message) override;
  SendCounters counters() const override;

 private:
  bool HasWork() override { return readable_ && !ended_; }
  bool Build(Buffer* buffer, Stream* stream) override;
  void Released(const Buffer& buffer) override;
  void Advanced() override;
  void OnListener();
  void OnLocal(uint32_t events);
  void FlushReturn();
  void Hide();

  std::unique_ptr<LocalSocket> listener_;
  std::unique_ptr<LocalSocket> local_;
  std::string path_;
  bool readable_ = false;
  bool ended_ = false;
  bool drained_ = false;
  uint64_t end_seq_ = 0;
  uint64_t local_bytes_ = 0;
  uint64_t acked_bytes_ = 0;
  std::vector<uint8_t> return_;
};

class ByteReceiver final : public Receiver {
 public:
  ByteReceiver(Link* link, int handle, TransferName name, uint64_t window_bytes, int fd);
  ~ByteReceiver() override;
  const char* Check(const FrameHeader& header, Buffer* buffer) override;
  bool Take(const FrameHeader& header, Buffer* buffer, const Landing& landing) override;
  void Fail(const std::string& code, const std::string& message) override;
  // JavaScript has dealt with this much of what came back: more may be read.
  void ReturnTaken(size_t bytes);

 private:
  void OnLocal(uint32_t events);
  void Flush();
  void ReadReturn();

  std::unique_ptr<LocalSocket> local_;
  std::array<Buffer*, kOutstandingMax> held_{};  // by sequence, until written in order
  size_t write_offset_ = 0;
  bool return_ended_ = false;
  size_t return_untaken_bytes_ = 0;
};

}  // namespace dwcp
