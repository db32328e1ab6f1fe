// Our queue pairs (native/rdma) between two processes of this machine, as perftest tries its own:
//
//   channel-bench bandwidth ADDRESS PAIRS MESSAGE_BYTES BYTES   until all of it was taken
//   channel-bench latency ADDRESS MESSAGE_BYTES TURNS           half of a round trip, the median
//
// The sender's memory is registered and the card reads it; the receiver takes what has come out of
// its rings. Both wait for the card on descriptors, as the engine does. One line of JSON.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
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

constexpr size_t kSourceBytes = 4 << 20;
constexpr int kPatienceMs = 120'000;
constexpr uint32_t kRingBytesMax = 4 << 20;
constexpr uint32_t kRingBytesMin = 128 * 1024;
constexpr uint64_t kRingsBytesMax = 64 << 20;
constexpr int kFewPairs = 32;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "channel-bench: %s\n", what.c_str());
  std::exit(1);
}

void Check(bool holds, const std::string& what) {
  if (!holds) Fail(what);
}

double NowSec() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

bool Readable(int fd) {
  pollfd wanted{fd, POLLIN, 0};
  return poll(&wanted, 1, kPatienceMs) > 0;
}

ConnectionEvents::Event Await(ConnectionEvents& events) {
  ConnectionEvents::Event event;
  while (!events.Next(&event)) Check(Readable(events.fd()), "rdma_cm said nothing in time");
  return event;
}

ConnectionEvents::Event Await(ConnectionEvents& events, rdma_cm_event_type type) {
  const ConnectionEvents::Event event = Await(events);
  Check(event.type == type, std::string("rdma_cm said ") + events.Name(event));
  return event;
}

struct Plan {
  sockaddr_in address{};
  int pairs = 1;
  ByteChannelLimits limits;
};

struct End {
  std::shared_ptr<Connection> connection;
  std::unique_ptr<ByteChannel> channel;
};

Plan PlanFor(const char* address, int pairs) {
  Plan plan;
  plan.address.sin_family = AF_INET;
  Check(inet_pton(AF_INET, address, &plan.address.sin_addr) == 1, "not an IPv4 address");
  plan.pairs = pairs;
  plan.limits.ring_bytes = kRingBytesMax;
  while (plan.limits.ring_bytes * uint64_t{static_cast<uint32_t>(pairs)} > kRingsBytesMax &&
         plan.limits.ring_bytes > kRingBytesMin) {
    plan.limits.ring_bytes /= 2;
  }
  if (pairs > kFewPairs) {
    plan.limits.receives = 32;
    plan.limits.sends = 16;
  }
  return plan;
}

void OpenWith(End* end, const ConnectionEvents::Event& event) {
  RingGrant peer;
  Check(event.data_bytes >= sizeof peer, "the peer granted nothing");
  std::memcpy(&peer, event.data.data(), sizeof peer);
  Check(end->channel->Open(peer), "a grant without sense");
}

std::vector<End> Serve(const std::shared_ptr<ConnectionEvents>& events, const Plan& plan,
                       int port_pipe) {
  std::string why;
  const auto listener = Connection::Create(events, nullptr, &why);
  Check(listener != nullptr, why);
  Check(listener->Listen(reinterpret_cast<const sockaddr*>(&plan.address), 1024) == 0, "listen");
  const uint16_t port = listener->port();
  Check(write(port_pipe, &port, sizeof port) == sizeof port, "pipe");
  std::vector<End> ends;
  for (int established = 0; established < plan.pairs;) {
    const auto event = Await(*events);
    if (event.type == RDMA_CM_EVENT_ESTABLISHED) {
      established++;
      continue;
    }
    Check(event.type == RDMA_CM_EVENT_CONNECT_REQUEST, events->Name(event));
    End end{Connection::Adopt(events, event.caller, nullptr), nullptr};
    end.channel = ByteChannel::Create(end.connection, plan.limits, &why);
    Check(end.channel != nullptr, why);
    OpenWith(&end, event);
    const RingGrant ours = end.channel->grant();
    Check(end.connection->Accept(&ours, sizeof ours) == 0, "accept");
    ends.push_back(std::move(end));
  }
  return ends;
}

std::vector<End> Dial(const std::shared_ptr<ConnectionEvents>& events, const Plan& plan,
                      uint16_t port) {
  std::string why;
  sockaddr_in target = plan.address;
  target.sin_port = htons(port);
  std::vector<End> ends;
  while (static_cast<int>(ends.size()) < plan.pairs) {
    End end{Connection::Create(events, nullptr, &why), nullptr};
    Check(end.connection != nullptr, why);
    const auto* address = reinterpret_cast<const sockaddr*>(&target);
    Check(end.connection->ResolveAddress(nullptr, address, kPatienceMs) == 0, "address");
    Await(*events, RDMA_CM_EVENT_ADDR_RESOLVED);
    Check(end.connection->ResolveRoute(kPatienceMs) == 0, "route");
    Await(*events, RDMA_CM_EVENT_ROUTE_RESOLVED);
    end.channel = ByteChannel::Create(end.connection, plan.limits, &why);
    Check(end.channel != nullptr, why);
    const RingGrant ours = end.channel->grant();
    Check(end.connection->Connect(&ours, sizeof ours) == 0, "connect");
    OpenWith(&end, Await(*events, RDMA_CM_EVENT_ESTABLISHED));
    ends.push_back(std::move(end));
  }
  return ends;
}

std::shared_ptr<ConnectionEvents> OpenEvents() {
  std::string why;
  auto events = ConnectionEvents::Open(&why);
  Check(events != nullptr, why);
  return events;
}

uint8_t ByteAt(uint64_t position) {
  return static_cast<uint8_t>((position % kSourceBytes * 0x9e3779b97f4a7c15u) >> 56);
}

// Memory that the card may read; the pattern tells which place of the stream a byte is of.
class Source {
 public:
  explicit Source(const std::shared_ptr<ProtectionDomain>& domain) : bytes_(kSourceBytes) {
    for (size_t i = 0; i < bytes_.size(); i++) bytes_[i] = ByteAt(i);
    std::string why;
    region_ = MemoryRegion::Register(domain, bytes_.data(), bytes_.size(),
                                     MemoryRegion::Use::kSource, &why);
    Check(region_ != nullptr, why);
  }
  ByteChannel::Piece Piece(uint64_t position, size_t bytes) const {
    const size_t offset = position % kSourceBytes;
    return {bytes_.data() + offset, std::min(bytes, kSourceBytes - offset), region_->local_key()};
  }

 private:
  std::vector<uint8_t> bytes_;
  std::shared_ptr<MemoryRegion> region_;
};

class Ready {
 public:
  explicit Ready(const std::vector<End>& ends) : epoll_(epoll_create1(0)), events_(64) {
    for (size_t i = 0; i < ends.size(); i++) {
      epoll_event wanted{};
      wanted.events = EPOLLIN;
      wanted.data.u64 = i;
      Check(epoll_ctl(epoll_, EPOLL_CTL_ADD, ends[i].channel->fd(), &wanted) == 0, "epoll");
    }
  }
  ~Ready() { close(epoll_); }
  void Await(const std::function<void(size_t)>& take) {
    const int count = epoll_wait(epoll_, events_.data(), 64, kPatienceMs);
    Check(count > 0, "nothing moves");
    for (int i = 0; i < count; i++)
      take(static_cast<size_t>(events_[static_cast<size_t>(i)].data.u64));
  }

 private:
  int epoll_;
  std::vector<epoll_event> events_;
};

// Every byte is taken; the first of each piece is looked at.
void TakeAll(std::vector<End>& ends, uint64_t each_bytes) {
  std::vector<uint8_t> out(1 << 20);
  std::vector<uint64_t> taken(ends.size());
  uint64_t left = each_bytes * ends.size();
  Ready ready(ends);
  const auto take = [&](size_t index) {
    ByteChannel& channel = *ends[index].channel;
    Check(channel.Poll(), channel.why());
    while (channel.readable() > 0) {
      const iovec part{out.data(), out.size()};
      const size_t got = channel.Read(&part, 1);
      Check(out[0] == ByteAt(taken[index]), "other bytes arrived");
      taken[index] += got;
      left -= got;
    }
  };
  while (left > 0) ready.Await(take);
}

void SendAll(std::vector<End>& ends, const Source& source, size_t message_bytes,
             uint64_t each_bytes) {
  std::vector<uint64_t> sent(ends.size());
  uint64_t left = each_bytes * ends.size();
  const auto send = [&](size_t index) {
    ByteChannel& channel = *ends[index].channel;
    while (sent[index] < each_bytes) {
      // What is left of a message that met the end of a ring goes before the next one.
      const size_t rest = message_bytes - sent[index] % message_bytes;
      const ByteChannel::Piece piece =
          source.Piece(sent[index], std::min<uint64_t>(rest, each_bytes - sent[index]));
      const size_t posted = channel.Post(&piece, 1);
      if (posted == 0) break;
      sent[index] += posted;
      left -= posted;
    }
    Check(channel.Flush(), channel.why());
  };
  for (size_t index = 0; index < ends.size(); index++) send(index);
  Ready ready(ends);
  while (left > 0) {
    ready.Await([&](size_t index) {
      Check(ends[index].channel->Poll(), ends[index].channel->why());
      send(index);
    });
  }
}

struct Child {
  pid_t pid;
  int port_pipe, word_pipe;
};

// Before this process has used the library: its queue pairs do not survive a fork.
Child Fork(const std::function<void(int port_pipe, int word_pipe)>& work) {
  int port[2], word[2];
  Check(pipe(port) == 0 && pipe(word) == 0, "pipe");
  const pid_t pid = fork();
  Check(pid >= 0, "fork");
  if (pid == 0) {
    close(port[0]);
    close(word[0]);
    work(port[1], word[1]);
    _exit(0);
  }
  close(port[1]);
  close(word[1]);
  return {pid, port[0], word[0]};
}

uint16_t PortOf(const Child& child) {
  uint16_t port = 0;
  Check(read(child.port_pipe, &port, sizeof port) == sizeof port, "the receiver ended early");
  return port;
}

void Bandwidth(const Plan& plan, size_t message_bytes, uint64_t bytes) {
  const auto pairs = static_cast<uint64_t>(plan.pairs);
  const uint64_t messages = std::max<uint64_t>(bytes / (pairs * message_bytes), 5);
  const uint64_t each_bytes = messages * message_bytes;
  const Child receiver = Fork([&](int port_pipe, int word_pipe) {
    const auto events = OpenEvents();
    std::vector<End> ends = Serve(events, plan, port_pipe);
    TakeAll(ends, each_bytes);
    Check(write(word_pipe, "x", 1) == 1, "pipe");
    // Whoever closes first takes the credits of the other one with it.
    Await(*events, RDMA_CM_EVENT_DISCONNECTED);
  });
  const auto events = OpenEvents();
  std::vector<End> ends = Dial(events, plan, PortOf(receiver));
  const Source source(ends[0].channel->domain());
  const double start = NowSec();
  SendAll(ends, source, message_bytes, each_bytes);
  char word;
  Check(read(receiver.word_pipe, &word, 1) == 1, "the receiver ended early");
  const double seconds = NowSec() - start;
  ByteChannelCounters sum;
  for (const End& end : ends) {
    Check(end.channel->Poll(), end.channel->why());
    const ByteChannelCounters& each = end.channel->counters();
    sum.work_requests += each.work_requests;
    sum.doorbells += each.doorbells;
    sum.completions += each.completions;
    sum.copied_bytes += each.copied_bytes;
    sum.written_bytes += each.written_bytes;
  }
  ends[0].connection->Disconnect();
  waitpid(receiver.pid, nullptr, 0);
  std::printf(
      "{\"seconds\":%.6f,\"bytes\":%llu,\"messages\":%llu,\"workRequests\":%llu,"
      "\"doorbells\":%llu,\"completions\":%llu,\"copiedBytes\":%llu}\n",
      seconds, static_cast<unsigned long long>(sum.written_bytes),
      static_cast<unsigned long long>(messages * pairs),
      static_cast<unsigned long long>(sum.work_requests),
      static_cast<unsigned long long>(sum.doorbells),
      static_cast<unsigned long long>(sum.completions),
      static_cast<unsigned long long>(sum.copied_bytes));
}

void Put(ByteChannel& channel, const Source& source, size_t bytes) {
  for (size_t sent = 0; sent < bytes;) {
    const ByteChannel::Piece piece = source.Piece(sent, bytes - sent);
    sent += channel.Post(&piece, 1);
    Check(channel.Flush() && channel.Poll(), channel.why());
  }
}

void Get(ByteChannel& channel, std::vector<uint8_t>* out, size_t bytes) {
  for (size_t taken = 0; taken < bytes;) {
    while (channel.readable() == 0) {
      Check(Readable(channel.fd()), "nothing moves");
      Check(channel.Poll(), channel.why());
    }
    const iovec part{out->data(), bytes - taken};
    taken += channel.Read(&part, 1);
  }
}

void Latency(const Plan& plan, size_t bytes, int turns) {
  Check(bytes > 0 && bytes <= kSourceBytes, "a message of 1 byte to 4 MiB");
  const Child other = Fork([&](int port_pipe, int word_pipe) {
    const auto events = OpenEvents();
    std::vector<End> ends = Serve(events, plan, port_pipe);
    const Source source(ends[0].channel->domain());
    std::vector<uint8_t> out(bytes);
    for (int turn = 0; turn < turns; turn++) {
      Get(*ends[0].channel, &out, bytes);
      Put(*ends[0].channel, source, bytes);
    }
    Check(write(word_pipe, "x", 1) == 1, "pipe");
    Await(*events, RDMA_CM_EVENT_DISCONNECTED);
  });
  const auto events = OpenEvents();
  std::vector<End> ends = Dial(events, plan, PortOf(other));
  const Source source(ends[0].channel->domain());
  std::vector<uint8_t> out(bytes);
  std::vector<double> halves;
  for (int turn = 0; turn < turns; turn++) {
    const double start = NowSec();
    Put(*ends[0].channel, source, bytes);
    Get(*ends[0].channel, &out, bytes);
    halves.push_back((NowSec() - start) / 2);
  }
  ends[0].connection->Disconnect();
  waitpid(other.pid, nullptr, 0);
  std::sort(halves.begin(), halves.end());
  std::printf("{\"halfRoundTripUs\":%.3f}\n", halves[halves.size() / 2] * 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "bandwidth" && argc == 6) {
    const int pairs = std::atoi(argv[3]);
    const size_t message_bytes = std::strtoull(argv[4], nullptr, 10);
    Check(pairs > 0 && message_bytes > 0, "at least one queue pair, and one byte");
    Bandwidth(PlanFor(argv[2], pairs), message_bytes, std::strtoull(argv[5], nullptr, 10));
  } else if (verb == "latency" && argc == 5 && std::atoi(argv[4]) > 0) {
    Latency(PlanFor(argv[2], 1), std::strtoull(argv[3], nullptr, 10), std::atoi(argv[4]));
  } else {
    Fail("bandwidth ADDRESS PAIRS MESSAGE_BYTES BYTES, or latency ADDRESS MESSAGE_BYTES TURNS");
  }
  return 0;
}

#else

int main() {
  std::string why;
  dwcp::ListRdmaPorts(&why);
  std::fprintf(stderr, "channel-bench: %s\n", why.c_str());
  return 1;
}
#endif
