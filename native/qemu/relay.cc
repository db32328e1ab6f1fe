#include "qemu/relay.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <system_error>

namespace dwcp::qemu {

void Peer::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  queue_.clear();
  written_ = 0;
}

void Peer::Write(const uint8_t* bytes, size_t count) {
  if (open()) queue_.insert(queue_.end(), bytes, bytes + count);
}

bool Peer::Flush() {
  while (open() && written_ < queue_.size()) {
    const ssize_t sent =
        send(fd_, queue_.data() + written_, queue_.size() - written_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    written_ += static_cast<size_t>(sent);
  }
  queue_.clear();
  written_ = 0;
  if (ending_ && open()) shutdown(fd_, SHUT_WR);
  ending_ = false;
  return true;
}

ssize_t Peer::Read(uint8_t* bytes, size_t count) {
  for (;;) {
    const ssize_t got = recv(fd_, bytes, count, MSG_DONTWAIT);
    if (got > 0) return got;
    if (got < 0 && errno == EINTR) continue;
    return got < 0 && errno == EAGAIN ? 0 : -1;
  }
}

Relay::Relay(Notify notify) : notify_(std::move(notify)) {
  wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

Relay::~Relay() { close(wake_fd_); }

void Relay::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Relay::Stop() {
  if (stopping_.exchange(true)) return;
  Wake();
  if (thread_.joinable()) thread_.join();
}

void Relay::Wake() {
  const uint64_t one = 1;
  // A full counter wakes as well.
  (void)!write(wake_fd_, &one, sizeof one);
}

void Relay::Emit(const char* type, std::string message) {
  bool first;
  {
    std::lock_guard<std::mutex> lock(event_mutex_);
    first = events_.empty();
    events_.push_back({type, std::move(message)});
  }
  if (first) notify_();
}

std::vector<RelayEvent> Relay::TakeEvents() {
  std::lock_guard<std::mutex> lock(event_mutex_);
  std::vector<RelayEvent> taken;
  taken.swap(events_);
  return taken;
}

int Relay::AcceptOnce(int* listen_fd, const std::string& path, int* error) {
  const int fd = accept4(*listen_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  const bool again = fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED);
  if (again) return -1;
  if (fd < 0) *error = errno;
  close(*listen_fd);
  unlink(path.c_str());
  *listen_fd = -1;
  return fd;
}

short Relay::EventsOf(const std::vector<pollfd>& ready, int fd) {
  for (const pollfd& one : ready) {
    if (fd >= 0 && one.fd == fd) return one.revents;
  }
  return 0;
}

void Relay::Run() {
  std::vector<pollfd> fds;
  while (!stopping_) {
    fds.clear();
    fds.push_back({wake_fd_, POLLIN, 0});
    Prepare(&fds);
    if (poll(fds.data(), fds.size(), -1) < 0) continue;
    uint64_t count;
    while (read(wake_fd_, &count, sizeof count) > 0) {
    }
    if (!stopping_) Turn(fds);
  }
}

}  // namespace dwcp::qemu
