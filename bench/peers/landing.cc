// The honest peer of `bench transport`: two processes, N TCP streams, the same kernels over every
// byte (copy with CRC32C, send, receive, verify, land in a cold region). No acknowledgement, no
// credit.
//
//   landing STREAMS CHUNK_BYTES REGION_BYTES PASSES CONGESTION_CONTROL   ->   one line of JSON
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "memory/page_kernels.h"

namespace {
constexpr size_t kPage = 4096;
struct Header {
  uint64_t offset;
  uint32_t bytes;  // 0 ends the stream
  uint32_t crc;
};

struct Plan {
  int streams;
  size_t chunk_bytes;
  size_t region_bytes;
  int passes;
  const char* congestion_control;
};

void Check(bool ok, const char* what) {
  if (!ok) perror(what), _exit(1);
}

uint8_t* MapTouched(size_t bytes, uint64_t seed) {
  void* map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Check(map != MAP_FAILED, "mmap");
  auto* words = static_cast<uint64_t*>(map);
  for (size_t i = 0; i < bytes / 8; ++i) {
    words[i] = seed = seed * 6364136223846793005 + 1442695040888963407;  // no zero page
  }
  return static_cast<uint8_t*>(map);
}

template <typename Move, typename Byte>
void MoveAll(Move move, int fd, Byte* at, size_t bytes) {
  while (bytes > 0) {
    ssize_t moved = move(fd, at, bytes, MSG_NOSIGNAL);
    Check(moved > 0, "socket");
    at += moved, bytes -= moved;
  }
}

void SendStream(int fd, const uint8_t* region, const Plan& plan, std::atomic<size_t>* next) {
  std::vector<uint8_t> staging(sizeof(Header) + plan.chunk_bytes);
  const size_t chunks = plan.region_bytes / plan.chunk_bytes;
  for (size_t chunk; (chunk = (*next)++) < chunks * plan.passes;) {
    Header header{(chunk % chunks) * plan.chunk_bytes, uint32_t(plan.chunk_bytes), 0};
    for (size_t at = 0; at < plan.chunk_bytes; at += kPage) {
      dwcp::PrefetchPage(region + header.offset + at + kPage);
      uint8_t* to = staging.data() + sizeof(Header) + at;
      auto digest = dwcp::CopyPageWithDigest(to, region + header.offset + at);
      header.crc = dwcp::Crc32cAppendPage(header.crc, digest);
    }
    memcpy(staging.data(), &header, sizeof header);
    MoveAll(send, fd, staging.data(), staging.size());
  }
  const uint8_t end[sizeof(Header)] = {};
  MoveAll(send, fd, end, sizeof end);
}

void ReceiveStream(int fd, uint8_t* region, const Plan& plan, std::atomic<size_t>* landed) {
  std::vector<uint8_t> staging(plan.chunk_bytes);
  for (Header header;;) {
    MoveAll(recv, fd, reinterpret_cast<uint8_t*>(&header), sizeof header);
    if (header.bytes == 0) return;
    MoveAll(recv, fd, staging.data(), header.bytes);
    uint32_t crc = 0;
    for (size_t at = 0; at < header.bytes; at += kPage) {
      crc = dwcp::Crc32cAppendPage(crc, dwcp::DigestPage(staging.data() + at));
    }
    Check(crc == header.crc, "corrupt chunk");
    for (size_t at = 0; at < header.bytes; at += kPage) {
      dwcp::CopyPage(region + header.offset + at, staging.data() + at);
    }
    *landed += header.bytes;
  }
}

double CpuSeconds() {
  return double(clock()) / CLOCKS_PER_SEC;  // of every thread of this process
}
}  // namespace

int main(int argc, char** argv) {
  Check(argc == 6, "usage");
  const Plan plan{atoi(argv[1]), std::stoul(argv[2]), std::stoul(argv[3]), atoi(argv[4]), argv[5]};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  Check(bind(listener, any, length) == 0, "bind");
  Check(listen(listener, plan.streams) == 0, "listen");
  getsockname(listener, any, &length);
  int cpu_pipe[2];
  Check(pipe(cpu_pipe) == 0, "pipe");
  if (fork() == 0) {
    const uint8_t* source = MapTouched(plan.region_bytes, 0x9e3779b97f4a7c15);
    const double before = CpuSeconds();
    std::atomic<size_t> next{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < plan.streams; ++i) {
      int fd = socket(AF_INET, SOCK_STREAM, 0);
      auto* name = plan.congestion_control;
      Check(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, strlen(name)) == 0, name);
      Check(connect(fd, any, length) == 0, "connect");
      threads.emplace_back(SendStream, fd, source, plan, &next);
    }
    for (auto& thread : threads) thread.join();
    const double spent = CpuSeconds() - before;
    _exit(write(cpu_pipe[1], &spent, sizeof spent) == sizeof spent ? 0 : 1);
  }
  uint8_t* target = MapTouched(plan.region_bytes, 0x2545f4914f6cdd1d);
  const double before = CpuSeconds();
  std::atomic<size_t> landed{0};
  std::vector<std::thread> threads;
  std::chrono::steady_clock::time_point started;
  for (int i = 0; i < plan.streams; ++i) {
    int fd = accept(listener, nullptr, nullptr);
    if (i == 0) started = std::chrono::steady_clock::now();
    threads.emplace_back(ReceiveStream, fd, target, plan, &landed);
  }
  for (auto& thread : threads) thread.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  double sender_cpu = 0;
  Check(read(cpu_pipe[0], &sender_cpu, sizeof sender_cpu) == sizeof sender_cpu, "sender died");
  Check(landed == plan.region_bytes * plan.passes, "bytes are missing");
  printf("{\"bytes\":%zu,\"seconds\":%.6f,\"cpuSeconds\":%.3f}\n", landed.load(), took.count(),
         sender_cpu + CpuSeconds() - before);
}
