#include "engine/encode_pool.h"

#include "engine/engine.h"

namespace dwcp {

void EncodePool::Start() {
  if (stopping_ || !threads_.empty()) return;
  for (size_t i = 0; i < threads_wanted_; i++) threads_.emplace_back([this] { Run(); });
}

void EncodePool::Stop() {
  {
    std::lock_guard<std::mutex> lock(*mutex_);
    stopping_ = true;
    work_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void EncodePool::Run() {
  PageEncoder encoder;
  std::unique_lock<std::mutex> lock(*mutex_);
  while (!stopping_) {
    if (engine_->wanted()) {
      // A caller from elsewhere goes first, as before an I/O thread's turn.
      lock.unlock();
      std::this_thread::yield();
      lock.lock();
      continue;
    }
    if (Sender* sender = engine_->NextToEncode()) {
      Kick();
      sender->EncodeAhead(&encoder);
      continue;
    }
    idle_++;
    work_.wait(lock);
    idle_--;
  }
}

}  // namespace dwcp
