// The guest's own word that it runs: a line in a pipe that somebody outside dwcp holds.
#pragma once
#include <cstdint>
#include <string>

namespace dwcp::guest {

// One line per beat, at most one a millisecond: "PID START_NS COUNTER NOW_NS\n". PID and START_NS
// name this process; both times are CLOCK_MONOTONIC. A line is one write below PIPE_BUF, so lines
// of many guests never mix. It is told by the thread that works, so a guest that stands still is
// silent, and it never waits: a full pipe, or one that nobody reads, loses the line.
class Heartbeat {
 public:
  // Nothing is told without a path, nor to a pipe that nobody holds open.
  explicit Heartbeat(const char* pipe_path);
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  void Tell(uint64_t counter);

 private:
  int fd_ = -1;
  std::string name_;
  uint64_t last_ns_ = 0;
};

}  // namespace dwcp::guest
