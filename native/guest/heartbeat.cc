#include "guest/heartbeat.h"

#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <ctime>

namespace dwcp::guest {
namespace {

constexpr uint64_t kIntervalNs = 1000000;
constexpr size_t kLineBytesMax = 128;

uint64_t MonotonicNs() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000000000 + static_cast<uint64_t>(time.tv_nsec);
}

}  // namespace

Heartbeat::Heartbeat(const char* pipe_path) {
  if (pipe_path == nullptr) return;
  fd_ = open(pipe_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
  name_ = std::to_string(getpid()) + " " + std::to_string(MonotonicNs());
}

Heartbeat::~Heartbeat() {
  if (fd_ >= 0) close(fd_);
}

void Heartbeat::Tell(uint64_t counter) {
  if (fd_ < 0) return;
  const uint64_t now_ns = MonotonicNs();
  if (now_ns - last_ns_ < kIntervalNs) return;
  last_ns_ = now_ns;
  char line[kLineBytesMax];
  const int length = std::snprintf(line, sizeof(line), "%s %" PRIu64 " %" PRIu64 "\n",
                                   name_.c_str(), counter, now_ns);
  // A line that is lost tells less, never something wrong.
  if (write(fd_, line, static_cast<size_t>(length)) != length) return;
}

}  // namespace dwcp::guest
