#include "guest/workload.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <numeric>

namespace dwcp::guest {
namespace {

constexpr uint64_t kOperationIntervalUs = 200;
constexpr uint64_t kWriterTickUs = 1000;
constexpr uint64_t kCatchUpUsMax = 100000;

uint64_t ClockUs(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000000 + static_cast<uint64_t>(time.tv_nsec) / 1000;
}

// A full-period mix, so that operation n alone decides what operation n does.
uint64_t Mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

void FillRandom(uint8_t* page, uint64_t seed) {
  auto* words = reinterpret_cast<uint64_t*>(page);
  uint64_t state = seed | 1;
  for (size_t index = 0; index < kGuestPageBytes / sizeof(uint64_t); ++index) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    words[index] = state;
  }
}

// A step coprime to `count` near the golden section visits every page once before any comes again.
uint64_t FullCycleStride(uint64_t count) {
  auto stride = std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<double>(count) * 0.618));
  while (std::gcd(stride, count) != 1) ++stride;
  return stride;
}

}  // namespace

Workload::Workload(uint8_t* memory, uint64_t size_bytes, const char* heartbeat_pipe)
    : header_(reinterpret_cast<GuestHeader*>(memory)),
      accounts_(reinterpret_cast<uint64_t*>(memory + kGuestPageBytes)),
      ring_(reinterpret_cast<Operation*>(memory + (1 + kAccountPages) * kGuestPageBytes)),
      memory_(memory),
      size_bytes_(size_bytes),
      heartbeat_(heartbeat_pipe) {}

Workload::~Workload() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    quitting_ = true;
  }
  changed_.notify_all();
  if (ledger_.joinable()) ledger_.join();
  if (writer_.joinable()) writer_.join();
}

void Workload::Initialize(const WorkloadOptions& options) {
  const uint64_t pages = size_bytes_ / kGuestPageBytes;
  for (uint64_t page = kFirstDataPage; page < pages; ++page) {
    const uint64_t hash = Mix(page);
    if (hash % 1000 >= options.zero_permille) FillRandom(memory_ + page * kGuestPageBytes, hash);
  }
  std::fill_n(accounts_, kAccounts, kOpeningBalance);
  *header_ = {};
  header_->size_bytes = size_bytes_;
  header_->dirty_bytes_per_sec = options.dirty_bytes_per_sec;
  const uint64_t data_pages = pages - kFirstDataPage;
  const uint64_t asked_pages = options.working_set_bytes / kGuestPageBytes;
  header_->working_set_pages = asked_pages == 0 ? data_pages : std::min(asked_pages, data_pages);
  header_->magic = kMagic;
}

bool Workload::IsValid() const {
  const uint64_t data_pages = size_bytes_ / kGuestPageBytes - kFirstDataPage;
  return header_->magic == kMagic && header_->size_bytes == size_bytes_ &&
         header_->working_set_pages > 0 && header_->working_set_pages <= data_pages;
}

void Workload::Resume() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (running_) return;
  running_ = true;
  rate_since_us_ = ClockUs(CLOCK_MONOTONIC);
  rate_since_pages_ = header_->pages_written;
  if (!ledger_.joinable()) {
    ledger_ = std::thread([this] { Ledger(); });
    writer_ = std::thread([this] { Writer(); });
  }
  changed_.notify_all();
}

void Workload::Pause() {
  std::unique_lock<std::mutex> lock(mutex_);
  running_ = false;
  if (!ledger_.joinable()) return;
  changed_.notify_all();
  changed_.wait(lock, [this] { return parked_ == 2; });
}

// Holding the lock; waits while paused. False when the process ends.
bool Workload::Park(std::unique_lock<std::mutex>& lock) {
  if (running_) return !quitting_;
  ++parked_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return running_ || quitting_; });
  --parked_;
  return !quitting_;
}

void Workload::Ledger() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!quitting_ && Park(lock)) {
    const uint64_t number = header_->operations + 1;
    const uint64_t mix = Mix(number);
    const auto from = static_cast<uint32_t>(mix % kAccounts);
    const auto to = static_cast<uint32_t>((mix >> 32) % kAccounts);
    const uint64_t amount = std::min<uint64_t>(accounts_[from], mix % 17);
    accounts_[from] -= amount;
    accounts_[to] += amount;
    const uint64_t now_us = ClockUs(CLOCK_REALTIME);
    if (header_->last_operation_us != 0 && now_us > header_->last_operation_us) {
      header_->longest_gap_us =
          std::max(header_->longest_gap_us, now_us - header_->last_operation_us);
    }
    ring_[number % kRingSlots] = {number, from, to, amount, now_us};
    header_->last_operation_us = now_us;
    header_->operations = number;
    // Inside the lock: a guest that was told to be paused has said its last beat.
    heartbeat_.Tell(number);
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::microseconds(kOperationIntervalUs));
    lock.lock();
  }
}

void Workload::Writer() {
  const uint64_t set_pages = header_->working_set_pages;
  const uint64_t stride = FullCycleStride(set_pages);
  const double pages_per_us =
      static_cast<double>(header_->dirty_bytes_per_sec) / kGuestPageBytes / 1000000.0;
  uint64_t last_us = ClockUs(CLOCK_MONOTONIC);
  double owed_pages = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!quitting_) {
    const bool was_running = running_;
    if (!Park(lock)) break;
    lock.unlock();
    const uint64_t now_us = ClockUs(CLOCK_MONOTONIC);
    // A pause owes nothing, and what a starved writer missed beyond the limit is not caught up
    // with.
    const uint64_t elapsed_us = was_running ? std::min(now_us - last_us, kCatchUpUsMax) : 0;
    owed_pages += pages_per_us * static_cast<double>(elapsed_us);
    last_us = now_us;
    const auto count = static_cast<uint64_t>(owed_pages);
    owed_pages -= static_cast<double>(count);
    for (uint64_t written = 0; written < count; ++written) {
      const uint64_t cursor = header_->writer_cursor;
      auto* words =
          reinterpret_cast<uint64_t*>(memory_ + (kFirstDataPage + cursor) * kGuestPageBytes);
      const uint64_t mix = Mix(header_->pages_written);
      for (size_t word = 0; word < kGuestPageBytes / sizeof(uint64_t); word += 64) {
        words[word] = mix + word;
      }
      header_->writer_cursor = (cursor + stride) % set_pages;
      header_->pages_written += 1;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(kWriterTickUs));
    lock.lock();
  }
}

bool Workload::InvariantHeld() const {
  const uint64_t sum = std::accumulate(accounts_, accounts_ + kAccounts, uint64_t{0});
  if (sum != kAccounts * kOpeningBalance) return false;
  const uint64_t latest = header_->operations;
  const uint64_t kept = std::min<uint64_t>(latest, kRingSlots);
  for (uint64_t number = latest - kept + 1; number <= latest; ++number) {
    if (ring_[number % kRingSlots].number != number) return false;
  }
  return true;
}

Report Workload::MakeReport() {
  std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t now_us = ClockUs(CLOCK_MONOTONIC);
  const uint64_t elapsed_us = std::max<uint64_t>(1, now_us - rate_since_us_);
  const uint64_t pages =
      std::min(header_->pages_written - rate_since_pages_, header_->working_set_pages);
  rate_since_us_ = now_us;
  rate_since_pages_ = header_->pages_written;
  return {header_->operations, header_->longest_gap_us, InvariantHeld(),
          pages * kGuestPageBytes * 1000000 / elapsed_us, header_->dirty_bytes_per_sec};
}

void Workload::ResetGap() {
  std::lock_guard<std::mutex> lock(mutex_);
  header_->longest_gap_us = 0;
}

uint64_t Workload::WritePages(uint64_t start, uint64_t stride, uint64_t count) {
  const uint64_t data_pages = size_bytes_ / kGuestPageBytes - kFirstDataPage;
  const auto since = std::chrono::steady_clock::now();
  uint64_t page = start % data_pages;
  for (uint64_t written = 0; written < count; ++written) {
    auto* words =
        reinterpret_cast<volatile uint64_t*>(memory_ + (kFirstDataPage + page) * kGuestPageBytes);
    words[1] = words[1] + 1;
    page = (page + stride) % data_pages;
  }
  const auto passed = std::chrono::steady_clock::now() - since;
  return static_cast<uint64_t>(std::chrono::nanoseconds(passed).count());
}

}  // namespace dwcp::guest
