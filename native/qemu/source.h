// The source's end: QEMU writes its migration into a socket of ours. Its pages go into a shadow of
// its RAM, one block behind the other, and into a set of what has to be sent; all else goes, in
// order, into the control stream. A stream that is not understood is passed through as it is, which
// is decided before its first page.
#pragma once
#include <memory>

#include "memory/page_set.h"
#include "memory/region.h"
#include "qemu/relay.h"
#include "qemu/stream_parser.h"
#include "qemu/stream_writer.h"

namespace dwcp::qemu {

struct SourceCounters {
  uint64_t pages = 0;             // records with bytes
  uint64_t zero_pages = 0;        // records of zeros, whether the page travels or not
  uint64_t still_zero_pages = 0;  // of those: never were anything else, and do not travel
  uint64_t dirty_pages = 0;
  uint64_t shadow_pages = 0;  // that hold or held something
};

class Source final : public Relay, private TokenSink {
 public:
  // Listens at `listen_path` for QEMU and connects to the control stream at `control_path`. Throws
  // std::system_error.
  Source(Notify notify, std::shared_ptr<Region> shadow, std::string listen_path,
         const std::string& control_path, uint64_t backlog_bytes);
  ~Source() override;

  // Moves what has to be sent into `pages`, of as many pages as the shadow. Returns how many.
  uint64_t TakeDirty(PageSet* pages);
  // While it does not read, QEMU stands still in its writing.
  void SetReading(bool reading);
  uint64_t page_count() const { return shadow_->page_count(); }
  void EndRound();
  // Every page has landed: the devices may follow.
  void Release();
  SourceCounters counters();

 private:
  enum class Mode { kUndecided, kPages, kPassThrough, kFailed };

  void Prepare(std::vector<pollfd>* wanted) override;
  void Turn(const std::vector<pollfd>& ready) override;
  void OnToken(const Token& token) override;
  void OnBytes(const uint8_t* bytes, size_t count) override;
  void Decide();
  void PassThrough(const std::string& why);
  void PageToken(const Token& token);
  void TakePage(uint64_t page, bool zero);
  void Frame(uint8_t type, size_t count);
  void Accept();
  void ReadQemu();
  bool MayRead();
  void Fail(const std::string& message);

  std::shared_ptr<Region> shadow_;
  const std::string listen_path_;
  const uint64_t backlog_pages_max_;
  int listen_fd_ = -1;
  Peer qemu_;
  Peer control_;
  std::vector<uint8_t> piece_;

  // Of the thread alone.
  StreamParser parser_;
  StreamWriter writer_;
  Mode mode_ = Mode::kUndecided;
  bool ram_ended_ = false;
  bool held_ = false;  // the devices wait until every page has landed
  bool qemu_ended_ = false;
  std::vector<uint64_t> first_pages_;  // of each block, in the shadow
  PageSet ever_;                       // pages that the shadow holds something of
  uint64_t page_ = 0;                  // being written, and how far
  size_t page_bytes_ = 0;
  bool in_page_ = false;

  std::mutex mutex_;  // of what follows
  PageSet dirty_;
  uint64_t dirty_with_bytes_ = 0;
  SourceCounters counters_;
  bool told_dirty_ = false;
  bool reading_ = true;
  bool released_ = false;
  uint32_t rounds_ended_ = 0;
  uint32_t rounds_told_ = 0;
};

}  // namespace dwcp::qemu
