// What every program that is the whole user space of a Linux guest needs: a serial port, the
// kernel's command line, a clock.
#pragma once

#include <fcntl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace dwcp::guest {

inline int serial = 1;

__attribute__((format(printf, 1, 2))) inline void say(const char* format, ...) {
  char line[160];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  size_t sent = 0;
  const size_t total = std::min(static_cast<size_t>(length), sizeof line - 1);
  while (sent < total) {
    const ssize_t wrote = write(serial, line + sent, total - sent);
    if (wrote > 0) sent += static_cast<size_t>(wrote);
  }
}

/// Its own panic line, then off: the host sees QEMU exit instead of a silent guest.
[[noreturn]] inline void give_up(const char* why) {
  say("BAD init %s\n", why);
  tcdrain(serial);
  reboot(RB_AUTOBOOT);
  _exit(1);
}

inline std::string text_of(const char* path) {
  std::string text;
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) give_up(path);
  std::array<char, 4096> part;
  for (ssize_t got; (got = read(file, part.data(), part.size())) > 0;) {
    text.append(part.data(), static_cast<size_t>(got));
  }
  close(file);
  return text;
}

inline uint64_t number_after(const std::string& text, const std::string& name, uint64_t otherwise) {
  const size_t at = text.find(name);
  return at == std::string::npos ? otherwise
                                 : strtoull(text.c_str() + at + name.size(), nullptr, 10);
}

inline uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

inline void open_serial() {
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  mkdir("/dev", 0755);
  mount("proc", "/proc", "proc", 0, nullptr);
  mount("sysfs", "/sys", "sysfs", 0, nullptr);
  mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  mknod("/dev/ttyS0", S_IFCHR | 0600, makedev(4, 64));
  const int port = open("/dev/ttyS0", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (port >= 0) serial = port;
  termios settings;
  if (tcgetattr(serial, &settings) == 0) {
    cfmakeraw(&settings);
    tcsetattr(serial, TCSANOW, &settings);
  }
  klogctl(8, nullptr, 1);  // a kernel line in the middle of ours would look like a gap
}

}  // namespace dwcp::guest
