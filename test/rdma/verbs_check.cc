// Real queue pairs between two processes, and what becomes of them when something breaks. Needs an
// RDMA device with ADDRESS; every check says what it saw, and the first that fails ends it with 1.
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "rdma/byte_channel.h"
#include "rdma/device.h"

#if DWCP_HAS_VERBS
using namespace dwcp;

namespace {

constexpr int kPatienceMs = 60000;

uint64_t NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "verbs-check: FAILED: %s\n", what.c_str());
  std::exit(1);
}

void Check(bool holds, const std::string& what) {
  if (!holds) Fail(what);
}

bool Readable(int fd, int timeout_ms) {
  pollfd wanted{fd, POLLIN, 0};
  return poll(&wanted, 1, timeout_ms) > 0;
}

ConnectionEvents::Event Await(ConnectionEvents& events) {
  ConnectionEvents::Event event;
  const uint64_t end_ms = NowMs() + kPatienceMs;
  while (!events.Next(&event)) {
    Check(NowMs() < end_ms, "rdma_cm said nothing in time");
    Readable(events.fd(), 1000);
  }
  return event;
}

ConnectionEvents::Event Await(ConnectionEvents& events, rdma_cm_event_type type) {
  const ConnectionEvents::Event event = Await(events);
  Check(event.type == type, std::string("rdma_cm said ") + events.Name(event) + ", status " +
                                std::to_string(event.status));
  return event;
}

struct End {
  std::shared_ptr<ConnectionEvents> events;
  std::shared_ptr<Connection> connection;
  std::unique_ptr<ByteChannel> channel;
};

struct Scene {
  sockaddr_in address;
  ByteChannelLimits limits;
  int count = 1;
};

std::vector<End> Serve(const Scene& scene, int port_pipe) {
  std::string why;
  auto events = ConnectionEvents::Open(&why);
  Check(events != nullptr, why);
  auto listener = Connection::Create(events, nullptr, &why);
  Check(listener != nullptr, why);
  sockaddr_in address = scene.address;
  const int result = listener->Listen(reinterpret_cast<sockaddr*>(&address), 1024);
  Check(result == 0, std::string("listen: ") + std::strerror(-result));
  const uint16_t port = listener->port();
  Check(write(port_pipe, &port, sizeof port) == sizeof port, "pipe");
  std::vector<End> ends;
  // The next caller may be heard of before the last one is established.
  for (int established = 0; established < scene.count;) {
    const auto event = Await(*events);
    if (event.type == RDMA_CM_EVENT_ESTABLISHED) {
      established++;
      continue;
    }
    Check(event.type == RDMA_CM_EVENT_CONNECT_REQUEST,
          std::string("rdma_cm said ") + events->Name(event));
    End end{events, Connection::Adopt(events, event.caller, nullptr), nullptr};
    end.channel = ByteChannel::Create(end.connection, scene.limits, &why);
    Check(end.channel != nullptr, why);
    RingGrant peer;
    Check(event.data_bytes >= sizeof peer, "no grant in the call");
    std::memcpy(&peer, event.data.data(), sizeof peer);
    Check(end.channel->Open(peer), "a grant without sense");
    const RingGrant ours = end.channel->grant();
    Check(end.connection->Accept(&ours, sizeof ours) == 0, "accept");
    ends.push_back(std::move(end));
  }
  return ends;
}

// `spoil` changes what the other side granted before it is used.
std::vector<End> Dial(const Scene& scene, uint16_t port,
                      const std::function<void(RingGrant*)>& spoil = nullptr) {
  std::string why;
  auto events = ConnectionEvents::Open(&why);
  Check(events != nullptr, why);
  std::vector<End> ends;
  while (static_cast<int>(ends.size()) < scene.count) {
    End end{events, Connection::Create(events, nullptr, &why), nullptr};
    Check(end.connection != nullptr, why);
    sockaddr_in target = scene.address;
    target.sin_port = htons(port);
    const int result =
        end.connection->ResolveAddress(nullptr, reinterpret_cast<sockaddr*>(&target), 5000);
    Check(result == 0, std::string("resolve: ") + std::strerror(-result));
    Await(*events, RDMA_CM_EVENT_ADDR_RESOLVED);
    Check(end.connection->ResolveRoute(5000) == 0, "route");
    Await(*events, RDMA_CM_EVENT_ROUTE_RESOLVED);
    end.channel = ByteChannel::Create(end.connection, scene.limits, &why);
    Check(end.channel != nullptr, why);
    const RingGrant ours = end.channel->grant();
    Check(end.connection->Connect(&ours, sizeof ours) == 0, "connect");
    const auto answer = Await(*events, RDMA_CM_EVENT_ESTABLISHED);
    RingGrant peer;
    Check(answer.data_bytes >= sizeof peer, "no grant in the answer");
    std::memcpy(&peer, answer.data.data(), sizeof peer);
    if (spoil) spoil(&peer);
    Check(end.channel->Open(peer), "a grant without sense");
    ends.push_back(std::move(end));
  }
  return ends;
}

uint8_t PatternAt(uint64_t position) {
  return static_cast<uint8_t>((position * 0x9e3779b97f4a7c15u) >> 56);
}

// Sends what it is asked to and takes what comes, on one channel, until both are done.
struct Exchange {
  uint64_t to_send, to_take;
  uint64_t sent = 0, taken = 0;
};

void Run(ByteChannel& channel, Exchange* exchange, const uint8_t* source, size_t source_bytes,
         uint32_t key) {
  std::vector<uint8_t> out(256 * 1024);
  const uint64_t end_ms = NowMs() + 4 * kPatienceMs;
  while (exchange->sent < exchange->to_send || exchange->taken < exchange->to_take) {
    Check(NowMs() < end_ms, "the exchange stands still");
    bool moved = false;
    while (exchange->sent < exchange->to_send) {
      // The source repeats; each third message is a small one of memory that nobody registered.
      const size_t offset = exchange->sent % source_bytes;
      const size_t left =
          std::min<uint64_t>(source_bytes - offset, exchange->to_send - exchange->sent);
      size_t posted;
      if (exchange->sent % 3 == 1) {
        posted = channel.PostCopy(source + offset, std::min<size_t>(left, 1000));
      } else {
        const size_t half = left / 2;
        const ByteChannel::Piece pieces[2] = {{source + offset, half, key},
                                              {source + offset + half, left - half, key}};
        posted = channel.Post(pieces, 2);
      }
      if (posted == 0) break;
      exchange->sent += posted;
      moved = true;
    }
    Check(channel.Flush(), channel.why());
    if (!moved) Readable(channel.fd(), 1000);
    Check(channel.Poll(), channel.why());
    while (channel.readable() > 0) {
      const iovec part{out.data(), out.size()};
      const size_t got = channel.Read(&part, 1);
      for (size_t i = 0; i < got; i++) {
        if (out[i] != PatternAt((exchange->taken + i) % source_bytes)) Fail("other bytes arrived");
      }
      exchange->taken += got;
    }
  }
  Check(channel.Poll(), channel.why());
}

std::vector<uint8_t> Pattern(size_t bytes) {
  std::vector<uint8_t> pattern(bytes);
  for (size_t i = 0; i < bytes; i++) pattern[i] = PatternAt(i);
  return pattern;
}

constexpr size_t kSourceBytes = 1 << 20;

void Converse(End& end, uint64_t to_send, uint64_t to_take) {
  std::vector<uint8_t> source = Pattern(kSourceBytes);
  std::string why;
  auto region = MemoryRegion::Register(end.channel->domain(), source.data(), source.size(),
                                       MemoryRegion::Use::kSource, &why);
  Check(region != nullptr, why);
  Exchange exchange{to_send, to_take};
  Run(*end.channel, &exchange, source.data(), source.size(), region->local_key());
}

// Runs `server` in a process of its own, which answers with a byte when it got so far.
struct Peer {
  pid_t pid;
  int port_pipe, word_pipe;
  uint16_t Port() const {
    uint16_t port = 0;
    Check(read(port_pipe, &port, sizeof port) == sizeof port, "the peer ended early");
    return port;
  }
  void AwaitWord() const {
    char word;
    Check(read(word_pipe, &word, 1) == 1, "the peer ended early");
  }
  void Kill() const {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  void AwaitEnd() const {
    int status = 0;
    waitpid(pid, &status, 0);
    Check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the peer failed");
  }
};

Peer Fork(const std::function<void(int port_pipe, int word_pipe)>& server) {
  int port[2], word[2];
  Check(pipe(port) == 0 && pipe(word) == 0, "pipe");
  const pid_t pid = fork();
  if (pid == 0) {
    server(port[1], word[1]);
    std::fflush(nullptr);
    _exit(0);
  }
  close(port[1]);
  close(word[1]);
  return Peer{pid, port[0], word[0]};
}

void Say(int word_pipe) { Check(write(word_pipe, "x", 1) == 1, "pipe"); }

void Say(const char* name, const std::string& what) {
  std::printf("ok %s: %s\n", name, what.c_str());
  std::fflush(stdout);
}

std::string Counts(const ByteChannelCounters& c) {
  return std::to_string(c.work_requests) + " work requests, " + std::to_string(c.doorbells) +
         " doorbells, " + std::to_string(c.completions) + " completions of sends, " +
         std::to_string(c.arrivals) + " arrivals, " + std::to_string(c.copied_bytes) + " of " +
         std::to_string(c.written_bytes) + " bytes copied";
}

// Polls until it breaks; the peer may be gone for good.
void AwaitBroken(ByteChannel& channel) {
  const uint64_t end_ms = NowMs() + kPatienceMs;
  while (channel.Poll()) {
    Check(NowMs() < end_ms, "the queue pair does not fail");
    Readable(channel.fd(), 100);
  }
}

void BothWays(Scene scene, uint64_t bytes) {
  const Peer peer = Fork([&](int port_pipe, int) {
    std::vector<End> ends = Serve(scene, port_pipe);
    Converse(ends[0], bytes / 2, bytes);
    // Who is done first stays for what the other one still has to be told.
    ends[0].connection->Disconnect();
    AwaitBroken(*ends[0].channel);
  });
  std::vector<End> ends = Dial(scene, peer.Port());
  Converse(ends[0], bytes, bytes / 2);
  const ByteChannelCounters counters = ends[0].channel->counters();
  Check(counters.completions * 2 <= counters.work_requests, "most work requests are signalled");
  Check(counters.doorbells <= counters.work_requests, "more doorbells than work");
  ends[0].connection->Disconnect();
  AwaitBroken(*ends[0].channel);
  peer.AwaitEnd();
  Say("both ways", Counts(counters));
}

void ManyPairs(Scene scene, int count) {
  scene.count = count;
  scene.limits = {64 * 1024, 32, 16};
  const Peer peer = Fork([&](int port_pipe, int word_pipe) {
    std::vector<End> ends = Serve(scene, port_pipe);
    for (End& end : ends) Converse(end, 0, 100000);
    Say(word_pipe);
    // That the other side is done is news of rdma_cm; the queue pair itself does not hear of it.
    for (size_t i = 0; i < ends.size(); i++) Await(*ends[0].events, RDMA_CM_EVENT_DISCONNECTED);
  });
  std::vector<End> ends = Dial(scene, peer.Port());
  for (End& end : ends) Converse(end, 100000, 0);
  peer.AwaitWord();
  for (End& end : ends) end.connection->Disconnect();
  peer.AwaitEnd();
  Say("many pairs", std::to_string(count) + " queue pairs carried 100000 bytes each");
}

void PeerKilled(Scene scene) {
  const Peer peer = Fork([&](int port_pipe, int word_pipe) {
    std::vector<End> ends = Serve(scene, port_pipe);
    Say(word_pipe);
    pause();
  });
  std::vector<End> ends = Dial(scene, peer.Port());
  peer.AwaitWord();
  peer.Kill();
  ByteChannel& channel = *ends[0].channel;
  const std::vector<uint8_t> bytes = Pattern(1000);
  channel.PostCopy(bytes.data(), bytes.size());
  channel.Flush(true);
  const uint64_t start_ms = NowMs();
  // The kernel of the dead process says so at once; the card, which would also find out of a host
  // that is gone altogether, once its tries are spent.
  Await(*ends[0].events, RDMA_CM_EVENT_DISCONNECTED);
  const uint64_t heard_ms = NowMs();
  AwaitBroken(channel);
  Check(channel.Abort() == 0, "work requests did not come back");
  Say("peer killed", "heard of after " + std::to_string(heard_ms - start_ms) + " ms, after " +
                         std::to_string(NowMs() - start_ms) + " ms " + channel.why());
}

// The peer holds on to what it granted, and looks at it afterwards.
void Refused(Scene scene, const char* name, const std::function<void(RingGrant*)>& spoil) {
  const Peer peer = Fork([&](int port_pipe, int word_pipe) {
    std::vector<End> ends = Serve(scene, port_pipe);
    AwaitBroken(*ends[0].channel);
    Check(ends[0].channel->readable() == 0, "bytes arrived that nobody was granted");
    Say(word_pipe);
  });
  std::vector<End> ends = Dial(scene, peer.Port(), spoil);
  ByteChannel& channel = *ends[0].channel;
  const std::vector<uint8_t> bytes = Pattern(1000);
  Check(channel.PostCopy(bytes.data(), bytes.size()) == bytes.size(), "no room");
  channel.Flush(true);
  AwaitBroken(channel);
  Check(channel.pair().state() == QueuePair::State::kError, "the queue pair is not in error");
  Check(channel.why().find("access") != std::string::npos, "another error: " + channel.why());
  ends[0].connection->Disconnect();
  peer.AwaitWord();
  peer.AwaitEnd();
  Say(name, channel.why());
}

// A peer that takes nothing: the ring fills, no more goes out, and all of it can be called back.
void Flushed(Scene scene) {
  const Peer peer = Fork([&](int port_pipe, int word_pipe) {
    std::vector<End> ends = Serve(scene, port_pipe);
    Say(word_pipe);
    pause();
  });
  std::vector<End> ends = Dial(scene, peer.Port());
  peer.AwaitWord();
  ByteChannel& channel = *ends[0].channel;
  std::vector<uint8_t> source = Pattern(kSourceBytes);
  std::string why;
  auto region = MemoryRegion::Register(channel.domain(), source.data(), source.size(),
                                       MemoryRegion::Use::kSource, &why);
  Check(region != nullptr, why);
  const ByteChannel::Piece piece{source.data(), source.size(), region->local_key()};
  uint64_t sent = 0;
  while (const size_t posted = channel.Post(&piece, 1)) sent += posted;
  Check(sent <= scene.limits.ring_bytes, "more was sent than the ring holds");
  channel.Flush();
  // At once, with the card in the midst of it.
  Check(channel.Abort() == 0, "work requests did not come back");
  Check(channel.pair().state() == QueuePair::State::kError, "the queue pair is not in error");
  Check(channel.Post(&piece, 1) == 0, "a broken channel takes more");
  peer.Kill();
  Say("flush", std::to_string(sent) + " bytes under way, " +
                   std::to_string(channel.counters().flushed) + " work requests flushed");
}

// The owner takes its memory back: what the peer writes then is refused by the card.
void Revoked(Scene scene) {
  const Peer peer = Fork([&](int port_pipe, int word_pipe) {
    std::vector<End> ends = Serve(scene, port_pipe);
    ends[0].channel.reset();
    Say(word_pipe);
    pause();
  });
  std::vector<End> ends = Dial(scene, peer.Port());
  peer.AwaitWord();
  ByteChannel& channel = *ends[0].channel;
  const std::vector<uint8_t> bytes = Pattern(1000);
  channel.PostCopy(bytes.data(), bytes.size());
  channel.Flush(true);
  AwaitBroken(channel);
  peer.Kill();
  Say("revoked", channel.why());
}

void Budget() {
  PinBudget& budget = PinBudget::Process();
  Check(budget.pinned_bytes() == 0, "something is still pinned");
  Say("budget", "nothing stays pinned");
}

}  // namespace

int main(int argc, char** argv) {
  std::string address = argc > 1 ? argv[1] : "";
  const int pairs = argc > 2 ? std::atoi(argv[2]) : 32;
  if (address.empty()) {
    // In a process of its own: whoever forks later has not used the library before.
    int found[2];
    Check(pipe(found) == 0, "pipe");
    if (fork() == 0) {
      std::string why;
      for (const RdmaPort& port : ListRdmaPorts(&why)) {
        for (const std::string& each : port.addresses) {
          if (each.find('.') == std::string::npos) continue;
          _exit(write(found[1], each.data(), each.size()) > 0 ? 0 : 1);
        }
      }
      std::fprintf(stderr, "verbs-check: %s\n", why.c_str());
      _exit(1);
    }
    close(found[1]);
    char text[64] = {};
    Check(read(found[0], text, sizeof text - 1) > 0, "no RDMA device with an IPv4 address");
    address = text;
  }
  Scene scene{};
  scene.address.sin_family = AF_INET;
  Check(inet_pton(AF_INET, address.c_str(), &scene.address.sin_addr) == 1, "not an IPv4 address");
  const auto alone = [](const std::function<void()>& check) {
    const pid_t pid = fork();
    if (pid == 0) {
      check();
      std::fflush(nullptr);
      _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) std::exit(1);
  };
  alone([&] {
    BothWays(scene, 24 << 20);
    Budget();
  });
  alone([&] { ManyPairs(scene, pairs); });
  alone([&] { PeerKilled(scene); });
  alone([&] { Refused(scene, "wrong key", [](RingGrant* grant) { grant->key ^= 0x100; }); });
  alone([&] {
    Refused(scene, "beyond the ring",
            [](RingGrant* grant) { grant->address += grant->ring_bytes; });
  });
  alone([&] { Flushed(scene); });
  alone([&] { Revoked(scene); });
  std::printf("verbs-check: all passed on %s\n", address.c_str());
  return 0;
}

#else

int main() {
  std::string why;
  dwcp::ListRdmaPorts(&why);
  std::fprintf(stderr, "verbs-check: %s\n", why.c_str());
  return 1;
}
#endif
