#include "host.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "wire.h"

namespace dwcp::lab {
namespace {
/** Where `ip netns` looks. */
const std::string kNamespaces = "/run/netns";
const std::string kPrefix = "dwcp-lab-";
constexpr char kDevice[] = "wan";
/** Room for the bursts of senders: what is dropped is the link's to decide, not the device's. */
constexpr int kDeviceQueuePackets = 10'000;
constexpr int kEndRounds = 200;
constexpr int kEndRoundUs = 10'000;

[[noreturn]] void Fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

int Check(int result, const std::string& what) {
  if (result < 0) Fail(what);
  return result;
}

/** As `ip netns add` does: mounts in there have to be seen by, and leave with, every mount
 * namespace. */
void ShareMounts() {
  if (mkdir(kNamespaces.c_str(), 0755) < 0 && errno != EEXIST) Fail("mkdir " + kNamespaces);
  const char* path = kNamespaces.c_str();
  if (mount("", path, "none", MS_SHARED | MS_REC, nullptr) == 0) return;
  Check(mount(path, path, "none", MS_BIND | MS_REC, nullptr), "bind " + kNamespaces);
  Check(mount("", path, "none", MS_SHARED | MS_REC, nullptr), "share " + kNamespaces);
}

void WriteSetting(const std::string& path, const char* value) {
  const int fd = Check(open(path.c_str(), O_WRONLY | O_CLOEXEC), path);
  const ssize_t written = write(fd, value, strlen(value));
  close(fd);
  Check(int(written), path);
}

/** A packet per read, at most one MTU long: without IFF_VNET_HDR the kernel hands out no offloads.
 */
int OpenDevice(ifreq* request) {
  const int fd = Check(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), "open /dev/net/tun");
  request->ifr_flags = IFF_TUN | IFF_NO_PI;
  Check(ioctl(fd, TUNSETIFF, request), "make a TUN device");
  Check(ioctl(fd, TUNSETOFFLOAD, 0), "turn offloads off");
  return fd;
}

void SetAddress(int fd, ifreq* request, unsigned long what, const std::string& address) {
  auto* in = reinterpret_cast<sockaddr_in*>(&request->ifr_addr);
  in->sin_family = AF_INET;
  inet_pton(AF_INET, address.c_str(), &in->sin_addr);
  Check(ioctl(fd, what, request), "address " + address);
}

void BringUp(int fd, ifreq* request) {
  Check(ioctl(fd, SIOCGIFFLAGS, request), "read flags");
  request->ifr_flags |= IFF_UP;
  Check(ioctl(fd, SIOCSIFFLAGS, request), std::string(request->ifr_name) + " up");
}

/** In the namespace that the calling thread is in. */
void FurnishNamespace(Host* host) {
  // No packet that nobody sent, and no run that remembers the run before it.
  WriteSetting("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
  WriteSetting("/proc/sys/net/ipv4/tcp_no_metrics_save", "1");
  host->statistics = Check(open("/proc/thread-self/net/dev", O_RDONLY | O_CLOEXEC), "net/dev");
  ifreq request{};
  strcpy(request.ifr_name, kDevice);
  host->device = OpenDevice(&request);
  const int fd = Check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
  SetAddress(fd, &request, SIOCSIFADDR, host->address);
  SetAddress(fd, &request, SIOCSIFNETMASK, "255.255.255.0");
  request.ifr_mtu = kMtu;
  Check(ioctl(fd, SIOCSIFMTU, &request), "MTU");
  request.ifr_qlen = kDeviceQueuePackets;
  Check(ioctl(fd, SIOCSIFTXQLEN, &request), "queue of the device");
  BringUp(fd, &request);
  ifreq loopback{};
  strcpy(loopback.ifr_name, "lo");
  BringUp(fd, &loopback);
  close(fd);
}

/** SIGKILL to all whose network namespace it is; returns how many there were. */
int KillInhabitants(const struct stat& space) {
  DIR* directory = opendir("/proc");
  if (directory == nullptr) return 0;
  int found = 0;
  while (const dirent* entry = readdir(directory)) {
    const pid_t pid = atoi(entry->d_name);
    if (pid <= 0 || pid == getpid()) continue;
    struct stat theirs {};
    const std::string path = "/proc/" + std::to_string(pid) + "/ns/net";
    if (stat(path.c_str(), &theirs) < 0) continue;
    if (theirs.st_ino != space.st_ino || theirs.st_dev != space.st_dev) continue;
    found += kill(pid, SIGKILL) == 0;
  }
  closedir(directory);
  return found;
}
}  // namespace

void MakeHost(Host* host) {
  ShareMounts();
  const int home = Check(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), "own namespace");
  const std::string path = kNamespaces + "/" + host->name;
  close(Check(open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0), path));
  Check(unshare(CLONE_NEWNET), "new network namespace");
  Check(mount("/proc/thread-self/ns/net", path.c_str(), "none", MS_BIND, nullptr), path);
  FurnishNamespace(host);
  Check(setns(home, CLONE_NEWNET), "back to the own namespace");
  close(home);
}

uint64_t DeviceDrops(const Host& host) {
  char text[4096];
  const ssize_t length = pread(host.statistics, text, sizeof text - 1, 0);
  if (length < 0) return 0;
  text[length] = '\0';
  const char* line = strstr(text, kDevice);
  unsigned long long dropped = 0;
  // Eight columns of what was received, then bytes, packets, errors and drops of what was sent.
  if (line == nullptr ||
      sscanf(line, "wan: %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %llu", &dropped) != 1) {
    return 0;
  }
  return dropped;
}

void RemoveHost(const std::string& name) {
  const std::string path = kNamespaces + "/" + name;
  struct stat space {};
  if (stat(path.c_str(), &space) < 0) return;
  // A process may be starting another one just now.
  for (int round = 0; round < kEndRounds && KillInhabitants(space) > 0; ++round) {
    usleep(kEndRoundUs);
  }
  umount2(path.c_str(), MNT_DETACH);
  unlink(path.c_str());
}

void RemoveStaleHosts() {
  DIR* directory = opendir(kNamespaces.c_str());
  if (directory == nullptr) return;
  while (const dirent* entry = readdir(directory)) {
    const std::string name = entry->d_name;
    if (name.rfind(kPrefix, 0) != 0) continue;
    const pid_t owner = atoi(name.c_str() + kPrefix.size());
    if (owner > 0 && kill(owner, 0) < 0 && errno == ESRCH) RemoveHost(name);
  }
  closedir(directory);
}

std::string HostName(int pid, char side) { return kPrefix + std::to_string(pid) + "-" + side; }

}  // namespace dwcp::lab
