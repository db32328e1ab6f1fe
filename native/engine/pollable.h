// What a loop's epoll set holds: a descriptor with an interest and somebody who reacts. Its events
// are handled by its loop alone; the interest may be changed by whoever holds the engine.
#pragma once
#include <cstdint>

namespace dwcp {

class Engine;
class IoLoop;

class Pollable {
 public:
  Pollable(Engine* engine, IoLoop* loop) : engine_(engine), loop_(loop) {}
  virtual ~Pollable();
  Pollable(const Pollable&) = delete;
  Pollable& operator=(const Pollable&) = delete;
  virtual void OnEvents(uint32_t events) = 0;
  int fd() const { return fd_; }
  IoLoop* loop() const { return loop_; }

 protected:
  void Open(int fd, uint32_t interest);
  void CloseFd();
  // Keeps the descriptor but hears of it no more: a hang-up would otherwise be reported for ever.
  void Deafen();
  // Changes the interest in `bit` and tells the kernel only when that is news.
  void Want(uint32_t bit, bool wanted);
  bool Wants(uint32_t bit) const { return (interest_ & bit) != 0; }
  Engine* engine_;
  IoLoop* loop_;

 private:
  int fd_ = -1;
  uint32_t interest_ = 0;
};

}  // namespace dwcp
