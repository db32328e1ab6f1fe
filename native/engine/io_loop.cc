#include "engine/io_loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <mutex>
#include <system_error>

#include "engine/engine.h"

namespace dwcp {
namespace {

constexpr uint64_t kTickUs = 20000;

class WakeUp final : public Pollable {
 public:
  WakeUp(Engine* engine, IoLoop* loop, int fd) : Pollable(engine, loop) { Open(fd, EPOLLIN); }
  void OnEvents(uint32_t) override {
    uint64_t count;
    while (read(fd(), &count, sizeof count) > 0) {
    }
  }
};

}  // namespace

IoLoop::IoLoop(Engine* engine) : engine_(engine), digests_(kChunkBytesMax / kPageBytes) {
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (epoll_fd_ < 0 || wake_fd_ < 0) throw std::system_error(errno, std::generic_category());
  wake_ = std::make_unique<WakeUp>(engine, this, wake_fd_);
}

IoLoop::~IoLoop() { Close(); }

void IoLoop::Close() {
  if (epoll_fd_ < 0) return;
  graveyard_.clear();
  wake_.reset();
  close(epoll_fd_);
  epoll_fd_ = -1;
}

void IoLoop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void IoLoop::Wake() {
  const uint64_t one = 1;
  if (write(wake_fd_, &one, sizeof one) < 0) return;  // full means that it is awake
}

void IoLoop::Run() {
  std::vector<epoll_event> events(128);
  int timeout_ms = -1;
  while (!engine_->stopping()) {
    const int count =
        epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), timeout_ms);
    for (int i = 0; i < count; i++) {
      Engine::Turn turn(engine_);
      auto* target = static_cast<Pollable*>(events[static_cast<size_t>(i)].data.ptr);
      if (target->fd() >= 0) target->OnEvents(events[static_cast<size_t>(i)].events);
    }
    Engine::Turn turn(engine_);
    graveyard_.clear();
    const uint64_t now_us = Engine::NowUs();
    if (now_us - last_tick_us_ >= kTickUs) {
      last_tick_us_ = now_us;
      engine_->Tick(this, now_us);
    }
    const uint64_t wait_us = engine_->UntilPacedUs(now_us, stream_count == 0 ? 1000000 : kTickUs);
    timeout_ms = static_cast<int>((wait_us + 999) / 1000);
  }
}

}  // namespace dwcp
