#include "guest/control.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

namespace dwcp::guest {
namespace {

constexpr size_t kLineBytesMax = 256;
constexpr size_t kClientsMax = 16;
// Each agent that restarts while the guest is frozen leaves a connection here that nobody accepts.
constexpr int kBacklog = 4096;

struct Client {
  int fd;
  std::string line;
};

int Listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    throw std::system_error(ENAMETOOLONG, std::generic_category(), path);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(fd, kBacklog) != 0) {
    throw std::system_error(errno, std::generic_category(), path);
  }
  return fd;
}

enum class Next { kKeep, kDrop, kQuit };

Next Serve(Client& client, const std::function<std::string(const std::string&)>& answer) {
  char buffer[kLineBytesMax];
  const ssize_t got = recv(client.fd, buffer, sizeof(buffer), 0);
  if (got <= 0) return Next::kDrop;
  client.line.append(buffer, static_cast<size_t>(got));
  size_t end;
  while ((end = client.line.find('\n')) != std::string::npos) {
    const std::string reply = answer(client.line.substr(0, end));
    if (reply.empty()) return Next::kQuit;
    client.line.erase(0, end + 1);
    const std::string out = reply + "\n";
    const ssize_t sent = send(client.fd, out.data(), out.size(), MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(out.size())) return Next::kDrop;
  }
  return client.line.size() > kLineBytesMax ? Next::kDrop : Next::kKeep;
}

}  // namespace

void ServeControl(const std::string& path,
                  const std::function<std::string(const std::string&)>& answer) {
  const int listener = Listen(path);
  std::vector<Client> clients;
  for (;;) {
    std::vector<pollfd> polled{{listener, POLLIN, 0}};
    for (const Client& client : clients) polled.push_back({client.fd, POLLIN, 0});
    if (poll(polled.data(), polled.size(), -1) < 0) continue;
    for (size_t index = clients.size(); index-- > 0;) {
      if (polled[index + 1].revents == 0) continue;
      const Next next = Serve(clients[index], answer);
      if (next == Next::kQuit) return;
      if (next == Next::kKeep) continue;
      close(clients[index].fd);
      clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(index));
    }
    if (polled[0].revents == 0) continue;
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    if (clients.size() < kClientsMax) {
      clients.push_back({fd, {}});
    } else {
      close(fd);
    }
  }
}

}  // namespace dwcp::guest
