// Threads that build chunks ahead of the streams that pull them, where building is dear. They work
// for whichever sender has work and room; what they build is bounded by the sender.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

#include "codec/page_encoder.h"

namespace dwcp {

class Engine;

class EncodePool {
 public:
  EncodePool(Engine* engine, std::mutex* mutex, size_t threads)
      : engine_(engine), mutex_(mutex), threads_wanted_(threads) {}
  ~EncodePool() { Stop(); }
  EncodePool(const EncodePool&) = delete;
  EncodePool& operator=(const EncodePool&) = delete;

  size_t size() const { return threads_wanted_; }
  // Under the engine's lock. Idempotent: an engine whose links encode nothing has no such thread.
  void Start();
  // Under the engine's lock: there may be work.
  void Kick() {
    if (idle_ > 0) work_.notify_one();
  }
  // Without the lock. No thread is left.
  void Stop();

 private:
  void Run();

  Engine* engine_;
  std::mutex* mutex_;
  size_t threads_wanted_;
  size_t idle_ = 0;
  bool stopping_ = false;
  std::condition_variable work_;
  std::vector<std::thread> threads_;
};

}  // namespace dwcp
