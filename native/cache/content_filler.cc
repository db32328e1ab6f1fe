#include "cache/content_filler.h"

#include <sys/resource.h>
#include <unistd.h>

#include "memory/page_kernels.h"

namespace dwcp {
namespace {

// Not the idle class: a thread that gets no turn at all could hold the store's lock.
constexpr int kNiceness = 15;
constexpr uint64_t kPagesPerLook = 64;

}  // namespace

ContentFiller::ContentFiller(std::shared_ptr<ContentStore> store)
    : store_(std::move(store)), thread_([this] { Run(); }) {}

bool ContentFiller::Keep(std::shared_ptr<Region> region) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& waiting : waiting_) {
    if (waiting == region) return true;
  }
  if (stopping_ || waiting_.size() == kWaitingMax) return false;
  waiting_.push_back(std::move(region));
  work_.notify_one();
  return true;
}

bool ContentFiller::busy() {
  std::lock_guard<std::mutex> lock(mutex_);
  return storing_ || !waiting_.empty();
}

bool ContentFiller::stopping() {
  std::lock_guard<std::mutex> lock(mutex_);
  return stopping_;
}

void ContentFiller::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    waiting_.clear();
    work_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void ContentFiller::Run() {
  // Of this thread alone, on Linux.
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNiceness);
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    if (waiting_.empty()) {
      work_.wait(lock);
      continue;
    }
    std::shared_ptr<Region> region = std::move(waiting_.front());
    waiting_.pop_front();
    storing_ = true;
    lock.unlock();
    Store(*region);
    region.reset();
    store_->Summarise();
    lock.lock();
    storing_ = false;
  }
}

// The guest may run on: each page is copied, and what is stored is what the copy is.
void ContentFiller::Store(const Region& region) {
  alignas(4096) uint8_t copy[kPageBytes];
  for (uint64_t page = 0; page < region.page_count(); page++) {
    if (page % kPagesPerLook == 0 && stopping()) return;
    if (IsZeroPage(region.page(page))) continue;
    const PageDigest digest = CopyPageWithDigest(copy, region.page(page));
    const ContentKey& key = *store_->key();
    if (!store_->Append(copy, {key.Hash(copy), key.Fingerprint(digest)})) return;
  }
}

}  // namespace dwcp
