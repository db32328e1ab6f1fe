// Puts the pages of regions that were moved into the store, on a thread of its own that yields to
// everything else: a switch-over never waits for it.
#pragma once
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "cache/content_store.h"
#include "memory/region.h"

namespace dwcp {

class ContentFiller {
 public:
  // Each keeps the memory of a guest that may be gone otherwise.
  static constexpr size_t kWaitingMax = 4;

  explicit ContentFiller(std::shared_ptr<ContentStore> store);
  ~ContentFiller() { Stop(); }

  // False when so many wait that this one is left out.
  bool Keep(std::shared_ptr<Region> region);
  bool busy();
  // At once, with what is stored so far.
  void Stop();

 private:
  void Run();
  void Store(const Region& region);
  bool stopping();

  std::shared_ptr<ContentStore> store_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::shared_ptr<Region>> waiting_;
  bool storing_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace dwcp
