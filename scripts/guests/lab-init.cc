// The first process of the RDMA lab's guest: /init of its initramfs, a static program.
//
// It loads the modules, lays a throw-away layer over the host's root (9p, read-only), makes a
// soft-RoCE device there and runs one command, whose output and status it sends through a virtio
// port. When the other end of that port goes away, so does the guest.
//
//   host -> guest   u32 bytes, then texts that each end with a zero byte: working directory,
//                   exchange folder, number of words, the words, the environment
//   guest -> host   u8 kind, u32 bytes, bytes: begun (empty), stdout, stderr, ended (i32 status)
//
// All numbers are little-endian.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "guest.h"

namespace {

using dwcp::guest::give_up;
using dwcp::guest::open_serial;
using dwcp::guest::say;
using dwcp::guest::text_of;

enum class Kind : uint8_t { kBegun = 0, kStdout = 1, kStderr = 2, kEnded = 3 };

constexpr const char* kPort = "/dev/vport0p1";
constexpr int kPortWithinMs = 10'000;
constexpr size_t kRequestBytesMax = 1 << 20;
constexpr rlim_t kDescriptors = 65536;
constexpr const char* kRoot = "/lab/root";

/// GID 1 is then 10.7.0.1 as RoCE v2; 4500 on the wire lets a path have the largest MTU, 4096.
constexpr const char* kNetwork = R"(
set -e
ip -batch - <<END
link set lo up
link add va mtu 4500 type veth peer name vb mtu 4500
addr add 10.7.0.1/24 dev va
link set va up
link set vb up
END
rdma link add rxe0 type rxe netdev va
for try in 0 1 2 3 4 5 6 7 8 9; do
  read -r state < /sys/class/infiniband/rxe0/ports/1/state
  test "$state" = "4: ACTIVE" && exit 0
  sleep 0.2
done
echo "rxe0 is in state $state" >&2
exit 1
)";

struct Request {
  std::string directory;
  std::string exchange;
  std::vector<std::string> command;
  std::vector<std::string> environment;
};

int port = -1;

void must(bool done, const char* what) {
  if (done) return;
  say("%s: %s\n", what, strerror(errno));
  give_up(what);
}

void load_modules() {
  const std::string order = text_of("/modules/order");
  for (size_t from = 0; from < order.size();) {
    const size_t end = std::min(order.find('\n', from), order.size());
    const std::string path = "/modules/" + order.substr(from, end - from);
    from = end + 1;
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const bool loaded = file >= 0 && syscall(SYS_finit_module, file, "", 0) == 0;
    must(loaded || errno == EEXIST, path.c_str());
    close(file);
  }
}

void mount_at(const char* type, const char* source, const std::string& at, const char* options) {
  for (size_t slash = at.find('/', 1);; slash = at.find('/', slash + 1)) {
    mkdir(at.substr(0, slash).c_str(), 0755);
    if (slash == std::string::npos) break;
  }
  must(mount(source, at.c_str(), type, 0, options) == 0, at.c_str());
}

/// What the guest writes stays in its memory, except in the exchange folder.
void mount_root(const Request& request) {
  const std::string root = kRoot;
  const char* over_virtio = "trans=virtio,version=9p2000.L,msize=524288";
  mount_at("9p", "host", "/lab/host", (std::string(over_virtio) + ",ro,cache=loose").c_str());
  mount_at("tmpfs", "upper", "/lab/upper", "size=75%");
  mkdir("/lab/upper/data", 0755);
  mkdir("/lab/upper/work", 0755);
  mount_at("overlay", "root", root,
           "lowerdir=/lab/host,upperdir=/lab/upper/data,workdir=/lab/upper/work");
  mount_at("proc", "proc", root + "/proc", nullptr);
  mount_at("sysfs", "sys", root + "/sys", nullptr);
  mount_at("cgroup2", "cgroup", root + "/sys/fs/cgroup", nullptr);
  mount_at("devtmpfs", "dev", root + "/dev", nullptr);
  mount_at("devpts", "pts", root + "/dev/pts", "ptmxmode=666");
  mount_at("tmpfs", "shm", root + "/dev/shm", nullptr);
  mount_at("tmpfs", "run", root + "/run", nullptr);
  // Sockets and locks of the host's programs are none of ours; a checkout in there is.
  if (request.directory.rfind("/tmp/", 0) != 0) {
    mount_at("tmpfs", "tmp", root + "/tmp", "mode=1777");
  }
  mount_at("9p", "exchange", root + request.exchange, over_virtio);
}

void send_all(const void* bytes, size_t count) {
  const auto* at = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t wrote = write(port, at, count);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) give_up("the host is gone");
    at += wrote;
    count -= static_cast<size_t>(wrote);
  }
}

void send_frame(Kind kind, const void* bytes, size_t count) {
  uint8_t head[5] = {static_cast<uint8_t>(kind)};
  const auto length = static_cast<uint32_t>(count);
  memcpy(head + 1, &length, sizeof length);
  send_all(head, sizeof head);
  send_all(bytes, count);
}

void receive_all(void* bytes, size_t count) {
  auto* at = static_cast<char*>(bytes);
  while (count > 0) {
    const ssize_t got = read(port, at, count);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) give_up("the host is gone");
    at += got;
    count -= static_cast<size_t>(got);
  }
}

/// The kernel makes the device once it has talked to the host about it.
void open_port() {
  for (int waited = 0; port < 0 && waited < kPortWithinMs; waited += 10) {
    port = open(kPort, O_RDWR | O_CLOEXEC);
    if (port < 0) usleep(10'000);
  }
  must(port >= 0, kPort);
}

Request receive_request() {
  uint32_t length = 0;
  receive_all(&length, sizeof length);
  must(length <= kRequestBytesMax, "a request that long");
  std::string texts(length, '\0');
  receive_all(texts.data(), texts.size());
  std::vector<std::string> parts;
  for (size_t from = 0; from < texts.size();) {
    const size_t end = texts.find('\0', from);
    must(end != std::string::npos, "a text without an end");
    parts.push_back(texts.substr(from, end - from));
    from = end + 1;
  }
  must(parts.size() >= 3, "a short request");
  const size_t words = strtoull(parts[2].c_str(), nullptr, 10);
  must(words > 0 && words <= parts.size() - 3, "a request without a command");
  const auto command = parts.begin() + 3;
  const auto environment = command + static_cast<std::ptrdiff_t>(words);
  return {parts[0], parts[1], {command, environment}, {environment, parts.end()}};
}

[[noreturn]] void become(const std::vector<std::string>& command, const Request& request) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setsid();
  const char* failed = "chroot";
  if (chroot(kRoot) == 0) {
    failed = request.directory.c_str();
    if (chdir(failed) == 0) {
      std::vector<char*> words;
      for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
      words.push_back(nullptr);
      clearenv();
      for (const std::string& each : request.environment) putenv(const_cast<char*>(each.c_str()));
      failed = words[0];
      execvp(words[0], words.data());
    }
  }
  dprintf(STDERR_FILENO, "%s: %s\n", failed, strerror(errno));
  _exit(errno == ENOENT ? 127 : 126);
}

/// One of the two outputs of a command; false at its end, and where nothing is there now.
bool forward(int pipe, Kind kind) {
  static char part[32768];
  const ssize_t got = read(pipe, part, sizeof part);
  if (got > 0) send_frame(kind, part, static_cast<size_t>(got));
  return got > 0;
}

/// Of every process that ended, since orphans are ours; true once `child` is among them.
bool reap(pid_t child, int* status) {
  bool ended = false;
  int each = 0;
  for (pid_t pid; (pid = waitpid(-1, &each, WNOHANG)) > 0;) {
    if (pid != child) continue;
    ended = true;
    *status = WIFEXITED(each) ? WEXITSTATUS(each) : 128 + WTERMSIG(each);
  }
  return ended;
}

/// The status of a shell. Ends with the command, whoever of its descendants still holds the pipes.
int run(const std::vector<std::string>& command, const Request& request) {
  int outputs[2];
  int errors[2];
  must(pipe2(outputs, O_CLOEXEC) == 0 && pipe2(errors, O_CLOEXEC) == 0, "pipes");
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, nullptr);
  const int ends = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
  const pid_t child = fork();
  must(ends >= 0 && child >= 0, "a process");
  if (child == 0) {
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(outputs[1], STDOUT_FILENO);
    dup2(errors[1], STDERR_FILENO);
    become(command, request);
  }
  close(outputs[1]);
  close(errors[1]);
  fcntl(outputs[0], F_SETFL, O_NONBLOCK);
  fcntl(errors[0], F_SETFL, O_NONBLOCK);
  int status = 0;
  pollfd polled[] = {
      {outputs[0], POLLIN, 0}, {errors[0], POLLIN, 0}, {ends, POLLIN, 0}, {port, 0, 0}};
  for (bool ended = false; !ended;) {
    if (poll(polled, 4, -1) < 0) continue;
    if ((polled[3].revents & POLLHUP) != 0) give_up("the host is gone");
    signalfd_siginfo which;
    const bool told = read(ends, &which, sizeof which) > 0;
    ended = told && reap(child, &status);
    // A pipe that nobody can write any more is always ready.
    if (polled[0].revents != 0 && !forward(outputs[0], Kind::kStdout) && !ended) {
      if ((polled[0].revents & POLLIN) == 0) polled[0].fd = -1;
    }
    if (polled[1].revents != 0 && !forward(errors[0], Kind::kStderr) && !ended) {
      if ((polled[1].revents & POLLIN) == 0) polled[1].fd = -1;
    }
  }
  while (forward(outputs[0], Kind::kStdout)) {
  }
  while (forward(errors[0], Kind::kStderr)) {
  }
  close(outputs[0]);
  close(errors[0]);
  close(ends);
  return status;
}

}  // namespace

int main() {
  open_serial();
  load_modules();
  open_port();
  const Request request = receive_request();
  mount_root(request);
  sethostname("dwcp-lab", 8);
  const rlimit descriptors{kDescriptors, kDescriptors};
  setrlimit(RLIMIT_NOFILE, &descriptors);
  int32_t status = run({"/bin/sh", "-c", kNetwork}, request);
  must(status == 0, "no soft-RoCE device");
  send_frame(Kind::kBegun, nullptr, 0);
  status = run(request.command, request);
  sync();
  send_frame(Kind::kEnded, &status, sizeof status);
  // The host ends the guest once it has read that.
  pollfd polled{port, 0, 0};
  poll(&polled, 1, -1);
  give_up("the host is gone");
}
