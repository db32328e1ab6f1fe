// One I/O thread with its own epoll set. A socket belongs to one loop for its whole life; the rules
// belong to the engine, whose lock a loop holds except in the heavy parts of a turn.
#pragma once
#include <memory>
#include <thread>
#include <vector>

#include "codec/page_decoder.h"
#include "engine/pollable.h"
#include "memory/page_kernels.h"

namespace dwcp {

class Engine;

class IoLoop {
 public:
  explicit IoLoop(Engine* engine);
  ~IoLoop();
  IoLoop(const IoLoop&) = delete;
  IoLoop& operator=(const IoLoop&) = delete;

  void Start();
  void Join() { thread_.join(); }
  // After Join: from here on no descriptor is touched.
  void Close();
  // Looks at its deadlines again.
  void Wake();
  int epoll_fd() const { return epoll_fd_; }
  // Digests of the pages of the chunk that this thread looks at.
  PageDigest* digests() { return digests_.data(); }
  PageDecoder& decoder() { return decoder_; }
  // Frees `object` once no event of this epoll round can name it.
  void Bury(std::unique_ptr<Pollable> object) { graveyard_.push_back(std::move(object)); }

  uint32_t stream_count = 0;

 private:
  void Run();

  Engine* engine_;
  int epoll_fd_ = -1;
  int wake_fd_ = -1;
  uint64_t last_tick_us_ = 0;
  std::unique_ptr<Pollable> wake_;
  std::vector<std::unique_ptr<Pollable>> graveyard_;
  std::vector<PageDigest> digests_;
  PageDecoder decoder_;
  std::thread thread_;
};

}  // namespace dwcp
