// The whole user space of the Linux guest that the WAN benches move: a key-value server on TCP,
// whose memory a client fills, /init of its initramfs. Kernel command line: dwcp.ip=ADDRESS (of a
// /24).
//
// Little-endian, in order, as many at a time as the client likes:
//     request   u32 id, u32 verb, u32 key bytes, u32 value bytes, key, value
//     reply     u32 id, u32 status (0 ok, 1 no such key, 2 no room), u32 value bytes, value
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <unordered_map>
#include <vector>

#include "guest.h"

namespace {

using dwcp::guest::give_up;
using dwcp::guest::now_ns;
using dwcp::guest::number_after;
using dwcp::guest::say;
using dwcp::guest::text_of;

enum Verb : uint32_t {
  kGet = 1,
  kPut = 2,
  /// Appends the value to the file `key` in memory, as programs and libraries lie in a page cache.
  kAppend = 3,
  /// `value` is a command line, its words ended by NUL; it runs beside the server.
  kRun = 4,
  /// The reply is /proc/meminfo.
  kMemory = 5,
};

enum Status : uint32_t { kOk = 0, kMissing = 1, kFull = 2 };

struct Request {
  uint32_t id;
  uint32_t verb;
  uint32_t key_bytes;
  uint32_t value_bytes;
};

struct Reply {
  uint32_t id;
  uint32_t status;
  uint32_t value_bytes;
};

constexpr uint16_t kPort = 6000;
constexpr size_t kConnectionsMax = 64;
constexpr uint32_t kKeyBytesMax = 256;
constexpr uint32_t kValueBytesMax = 1 << 20;
constexpr size_t kReadBytes = 256 << 10;
/// The kernel needs this much to live on: packets, page tables, processes.
constexpr uint64_t kReserveBytes = 32ULL << 20;
/// Of the heap and the table, beside key and value.
constexpr uint64_t kEntryBytes = 160;
/// What is kept may be rewritten, also a little longer, in a store that takes nothing new.
constexpr int64_t kRewriteBytes = 8 << 20;
constexpr uint64_t kDeviceWithinNs = 10'000'000'000;
const std::string kFiles = "/files";

/// In the order of what needs what; a name that is not there is another kernel's.
void load_modules() {
  const std::string list = text_of("/modules/order");
  for (size_t from = 0; from < list.size();) {
    const size_t end = std::min(list.find('\n', from), list.size());
    const std::string path = "/modules/" + list.substr(from, end - from);
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0 || syscall(SYS_finit_module, file, "", 0) < 0) {
      give_up((path + ": " + strerror(errno)).c_str());
    }
    close(file);
    from = end + 1;
  }
}

void set_address(int fd, ifreq* request, unsigned long what, const char* address) {
  auto* in = reinterpret_cast<sockaddr_in*>(&request->ifr_addr);
  *in = {};
  in->sin_family = AF_INET;
  if (inet_pton(AF_INET, address, &in->sin_addr) != 1 || ioctl(fd, what, request) < 0) {
    give_up("address");
  }
}

void bring_up(const std::string& address) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  strcpy(request.ifr_name, "eth0");
  const uint64_t deadline_ns = now_ns() + kDeviceWithinNs;
  while (ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
    if (now_ns() > deadline_ns) give_up("no eth0");
    usleep(10'000);
  }
  set_address(fd, &request, SIOCSIFADDR, address.c_str());
  set_address(fd, &request, SIOCSIFNETMASK, "255.255.255.0");
  ioctl(fd, SIOCGIFFLAGS, &request);
  request.ifr_flags |= IFF_UP;
  if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) give_up("eth0 up");
  close(fd);
}

/// Values on the heap and files in memory, together no more than leaves the kernel its room.
class Store {
 public:
  explicit Store(int64_t room_bytes) : room_bytes_(room_bytes) {}

  Status put(std::string key, const char* value, size_t bytes) {
    const auto found = values_.find(key);
    if (found == values_.end()) {
      if (!take(key.size() + kEntryBytes + bytes)) return kFull;
      values_.emplace(std::move(key), std::string(value, bytes));
      return kOk;
    }
    std::string& kept = found->second;
    const int64_t growth = static_cast<int64_t>(bytes) - static_cast<int64_t>(kept.size());
    if (growth > room_bytes_ + kRewriteBytes) return kFull;
    room_bytes_ -= growth;
    kept.assign(value, bytes);
    return kOk;
  }

  const std::string* get(const std::string& key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? nullptr : &found->second;
  }

  Status append(const std::string& name, const char* value, size_t bytes) {
    if (name.find('/') != std::string::npos) return kMissing;
    if (!take(bytes)) return kFull;
    const int file =
        open((kFiles + "/" + name).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0755);
    const bool is_whole = file >= 0 && write(file, value, bytes) == static_cast<ssize_t>(bytes);
    close(file);
    return is_whole ? kOk : kFull;
  }

 private:
  bool take(size_t bytes) {
    if (static_cast<int64_t>(bytes) > room_bytes_) return false;
    room_bytes_ -= static_cast<int64_t>(bytes);
    return true;
  }

  /// Below zero while what was rewritten is longer than it was.
  int64_t room_bytes_;
  std::unordered_map<std::string, std::string> values_;
};

void run(const char* words, size_t bytes) {
  std::string line(words, bytes);
  if (line.empty() || line.back() != '\0') line.push_back('\0');
  std::vector<char*> arguments;
  for (size_t at = 0; at < line.size(); at += strlen(&line[at]) + 1) arguments.push_back(&line[at]);
  arguments.push_back(nullptr);
  if (fork() != 0) return;
  if (chdir(kFiles.c_str()) == 0) execv(arguments[0], arguments.data());
  _exit(127);
}

struct Connection {
  std::string in;
  std::string out;
};

class Server {
 public:
  explicit Server(Store* store) : store_(store), poll_(epoll_create1(EPOLL_CLOEXEC)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(kPort);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ||
        listen(listener_, 16) < 0) {
      give_up("listen");
    }
    watch(listener_, EPOLL_CTL_ADD, EPOLLIN);
  }

  [[noreturn]] void serve() {
    for (;;) {
      std::array<epoll_event, 16> events;
      const int count = epoll_wait(poll_, events.data(), events.size(), 1000);
      for (int at = 0; at < count; ++at) {
        const int fd = events[at].data.fd;
        if (fd == listener_) {
          admit();
        } else if (!carry(fd)) {
          drop(fd);
        }
      }
      while (waitpid(-1, nullptr, WNOHANG) > 0) {
      }
    }
  }

 private:
  void watch(int fd, int how, uint32_t what) {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    epoll_ctl(poll_, how, fd, &event);
  }

  void admit() {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    // The oldest has the lowest number: a client of before this memory was saved never says
    // goodbye.
    if (connections_.size() == kConnectionsMax) drop(connections_.begin()->first);
    connections_[fd];
    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
  }

  void drop(int fd) {
    connections_.erase(fd);
    close(fd);
  }

  /// False when the connection is over.
  bool carry(int fd) {
    const auto found = connections_.find(fd);
    if (found == connections_.end()) return true;
    Connection& connection = found->second;
    // Who does not read its replies is not read either.
    if (connection.out.empty()) {
      const size_t before = connection.in.size();
      connection.in.resize(before + kReadBytes);
      const ssize_t got = read(fd, connection.in.data() + before, kReadBytes);
      connection.in.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
      if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
    }
    if (!answer(&connection)) return false;
    if (!connection.out.empty()) {
      const ssize_t sent = write(fd, connection.out.data(), connection.out.size());
      if (sent < 0 && errno != EAGAIN) return false;
      connection.out.erase(0, static_cast<size_t>(std::max<ssize_t>(sent, 0)));
    }
    watch(fd, EPOLL_CTL_MOD, connection.out.empty() ? EPOLLIN : EPOLLOUT);
    return true;
  }

  bool answer(Connection* connection) {
    size_t at = 0;
    const std::string& in = connection->in;
    while (in.size() - at >= sizeof(Request)) {
      Request request;
      memcpy(&request, in.data() + at, sizeof request);
      if (request.key_bytes > kKeyBytesMax || request.value_bytes > kValueBytesMax) return false;
      const size_t whole = sizeof request + request.key_bytes + request.value_bytes;
      if (in.size() - at < whole) break;
      const char* key = in.data() + at + sizeof request;
      obey(request, std::string(key, request.key_bytes), key + request.key_bytes, &connection->out);
      at += whole;
    }
    connection->in.erase(0, at);
    return true;
  }

  void obey(const Request& request, const std::string& key, const char* value, std::string* out) {
    Status status = kOk;
    std::string text;
    switch (request.verb) {
      case kGet:
        if (const std::string* kept = store_->get(key)) {
          text = *kept;
        } else {
          status = kMissing;
        }
        break;
      case kPut:
        status = store_->put(key, value, request.value_bytes);
        break;
      case kAppend:
        status = store_->append(key, value, request.value_bytes);
        break;
      case kRun:
        run(value, request.value_bytes);
        break;
      case kMemory:
        text = text_of("/proc/meminfo");
        break;
      default:
        status = kMissing;
    }
    const Reply reply{request.id, status, static_cast<uint32_t>(text.size())};
    out->append(reinterpret_cast<const char*>(&reply), sizeof reply);
    out->append(text);
  }

  Store* store_;
  int poll_;
  int listener_ = -1;
  std::map<int, Connection> connections_;
};

std::string word_after(const std::string& text, const std::string& name) {
  const size_t at = text.find(name);
  if (at == std::string::npos) give_up(name.c_str());
  const size_t from = at + name.size();
  return text.substr(from, text.find_first_of(" \n", from) - from);
}

}  // namespace

int main() {
  dwcp::guest::open_serial();
  load_modules();
  bring_up(word_after(text_of("/proc/cmdline"), "dwcp.ip="));
  mkdir(kFiles.c_str(), 0755);
  // Files may take what the store does not: the store keeps the account of both.
  if (mount("files", kFiles.c_str(), "tmpfs", 0, "size=95%") < 0) give_up("tmpfs");
  const uint64_t available = number_after(text_of("/proc/meminfo"), "MemAvailable:", 0) * 1024;
  if (available < 2 * kReserveBytes) give_up("too little memory");
  Store store(static_cast<int64_t>(available - kReserveBytes));
  Server server(&store);
  say("ready\n");
  server.serve();
}
