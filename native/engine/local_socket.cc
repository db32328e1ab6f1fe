#include "engine/local_socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace dwcp {
namespace {

int Open(const std::string& path, sockaddr_un* address) {
  if (path.size() >= sizeof address->sun_path) return -ENAMETOOLONG;
  std::memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  return fd < 0 ? -errno : fd;
}

int CloseWithErrno(int fd) {
  const int error_number = errno;
  close(fd);
  return -error_number;
}

}  // namespace

int ListenLocal(const std::string& path) {
  sockaddr_un address;
  const int fd = Open(path, &address);
  if (fd < 0) return fd;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ||
      chmod(path.c_str(), 0600) < 0 || listen(fd, 1) < 0) {
    return CloseWithErrno(fd);
  }
  return fd;
}

int ConnectLocal(const std::string& path) {
  sockaddr_un address;
  const int fd = Open(path, &address);
  if (fd < 0) return fd;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) {
    return CloseWithErrno(fd);
  }
  return fd;
}

}  // namespace dwcp
