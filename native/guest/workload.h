// The guest's work: a ledger of transfers between accounts, and a writer that dirties pages.
// Both stop only between two operations, so that memory alone is the whole state.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "guest/heartbeat.h"
#include "guest/layout.h"

namespace dwcp::guest {

struct WorkloadOptions {
  uint64_t dirty_bytes_per_sec;
  uint64_t working_set_bytes;  // 0: all data pages
  uint64_t zero_permille;      // of the data pages, at the start
};

struct Report {
  uint64_t operations;
  uint64_t longest_gap_us;
  bool invariant_held;
  uint64_t dirty_bytes_per_sec;
  uint64_t asked_dirty_bytes_per_sec;
};

class Workload {
 public:
  // `memory` holds `size_bytes`; nothing is touched yet. `heartbeat_pipe` may be null.
  Workload(uint8_t* memory, uint64_t size_bytes, const char* heartbeat_pipe);
  ~Workload();

  // Writes the opening state: a fresh guest.
  void Initialize(const WorkloadOptions& options);
  // False when the memory holds no guest of this size.
  bool IsValid() const;
  // Starts the workers, or lets parked ones go on.
  void Resume();
  // Returns when both workers are parked between two operations.
  void Pause();
  bool is_running() const { return running_; }
  Report MakeReport();
  void ResetGap();
  // Writes one word in each of `count` data pages: start, start + stride, ... around the data
  // pages. For measuring dirty tracking, while paused. Nanoseconds that the writes took.
  uint64_t WritePages(uint64_t start, uint64_t stride, uint64_t count);

 private:
  void Ledger();
  void Writer();
  bool Park(std::unique_lock<std::mutex>& lock);
  bool InvariantHeld() const;

  GuestHeader* header_;
  uint64_t* accounts_;
  Operation* ring_;
  uint8_t* memory_;
  uint64_t size_bytes_;
  Heartbeat heartbeat_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool running_ = false;
  bool quitting_ = false;
  int parked_ = 0;
  std::thread ledger_;
  std::thread writer_;
  uint64_t rate_since_us_ = 0;
  uint64_t rate_since_pages_ = 0;
};

}  // namespace dwcp::guest
