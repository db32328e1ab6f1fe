#include "engine/pollable.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "engine/io_loop.h"

namespace dwcp {

Pollable::~Pollable() { CloseFd(); }

void Pollable::Open(int fd, uint32_t interest) {
  fd_ = fd;
  interest_ = interest;
  epoll_event event{};
  event.events = interest;
  event.data.ptr = this;
  epoll_ctl(loop_->epoll_fd(), EPOLL_CTL_ADD, fd, &event);
}

void Pollable::CloseFd() {
  if (fd_ < 0) return;
  epoll_ctl(loop_->epoll_fd(), EPOLL_CTL_DEL, fd_, nullptr);
  close(fd_);
  fd_ = -1;
}

void Pollable::Deafen() { epoll_ctl(loop_->epoll_fd(), EPOLL_CTL_DEL, fd_, nullptr); }

void Pollable::Want(uint32_t bit, bool wanted) {
  const uint32_t interest = wanted ? (interest_ | bit) : (interest_ & ~bit);
  if (fd_ < 0 || interest == interest_) return;
  interest_ = interest;
  epoll_event event{};
  event.events = interest;
  event.data.ptr = this;
  epoll_ctl(loop_->epoll_fd(), EPOLL_CTL_MOD, fd_, &event);
}

}  // namespace dwcp
