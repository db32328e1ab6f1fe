// What the engine's epoll set holds: a descriptor with an interest and somebody who reacts.
#pragma once
#include <cstdint>

namespace dwcp {

class Engine;

class Pollable {
 public:
  explicit Pollable(Engine* engine) : engine_(engine) {}
  virtual ~Pollable();
  Pollable(const Pollable&) = delete;
  Pollable& operator=(const Pollable&) = delete;
  virtual void OnEvents(uint32_t events) = 0;
  int fd() const { return fd_; }

 protected:
  void Open(int fd, uint32_t interest);
  void CloseFd();
  // Keeps the descriptor but hears of it no more: a hang-up would otherwise be reported for ever.
  void Deafen();
  // Changes the interest in `bit` and tells the kernel only when that is news.
  void Want(uint32_t bit, bool wanted);
  Engine* engine_;

 private:
  int fd_ = -1;
  uint32_t interest_ = 0;
};

}  // namespace dwcp
