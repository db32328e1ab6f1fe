// The destination's end: a QEMU that waits for its migration gets it from here. Pages come out of a
// staging region, in sections of our own making; the control stream says what goes before and
// behind them. It tells the carried stream's local end nothing but what QEMU says back.
#pragma once
#include <deque>
#include <memory>

#include "memory/page_kernels.h"
#include "memory/region.h"
#include "qemu/relay.h"
#include "qemu/stream_parser.h"

namespace dwcp::qemu {

struct TargetCounters {
  uint64_t pages = 0;  // of the layout; 0 before it is known
  uint64_t fed_pages = 0;
  uint64_t fed_zero_pages = 0;
  uint64_t queued_pages = 0;
  // Time in which pages with bytes waited for QEMU to take them.
  uint64_t busy_us = 0;
};

class Target final : public Relay {
 public:
  // `fed`: a digest per page of the staging region, kNeverLanded while QEMU has not got it; written
  // here, of the very bytes that went, and outlives this. Listens at `listen_path` for the carried
  // stream and connects to QEMU at `qemu_path`. Throws std::system_error.
  Target(Notify notify, std::shared_ptr<Region> staging, PageDigest* fed, std::string listen_path,
         const std::string& qemu_path);
  ~Target() override;

  // Gives QEMU these pages as they are in staging, `zeros` as zeros, when it takes them. Pages
  // beyond the layout are nobody's and are left out.
  void Feed(std::vector<uint32_t> pages, std::vector<uint32_t> zeros);
  // The same for the last of them, when RAM has ended and staging stands still: then the devices.
  void Finish(std::vector<uint32_t> pages, std::vector<uint32_t> zeros);
  TargetCounters counters();

 private:
  struct Job {
    std::vector<uint32_t> pages;
    std::vector<uint32_t> zeros;
    size_t next = 0;
    size_t next_zero = 0;
    bool last = false;
    bool done() const { return next == pages.size() && next_zero == zeros.size(); }
  };
  enum class Mode { kUndecided, kPassThrough, kControl, kAwaitFinish, kDevices, kFailed };

  void Prepare(std::vector<pollfd>* wanted) override;
  void Turn(const std::vector<pollfd>& ready) override;
  void ReadControl();
  bool ReadFrame();
  bool ReadLayout(const uint8_t* bytes, size_t count);
  bool MayReadControl();
  void Generate();
  bool HasMore();
  void WriteSection(Job* job);
  void WriteRecord(uint64_t page, bool zero, size_t* block);
  void EndSection();
  void Fail(const std::string& message);

  std::shared_ptr<Region> staging_;
  PageDigest* fed_;
  const std::string listen_path_;
  int listen_fd_ = -1;
  Peer control_;
  Peer qemu_;
  std::vector<uint8_t> piece_;

  // Of the thread alone.
  Mode mode_ = Mode::kUndecided;
  std::vector<uint8_t> unread_;  // of the control stream: at most a piece and a frame
  std::vector<RamBlock> blocks_;
  std::vector<uint64_t> first_pages_;
  uint32_t ram_section_ = 0;
  int named_block_ = -1;        // what a record without a name means to QEMU
  std::vector<uint8_t> later_;  // bytes that wait behind pages
  bool control_ended_ = false;
  uint64_t busy_since_us_ = 0;

  std::mutex mutex_;  // of what follows
  std::deque<Job> jobs_;
  TargetCounters counters_;
  bool ram_ended_ = false;
};

}  // namespace dwcp::qemu
