#include <netinet/in.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "engine/engine.h"
#include "engine/rdma_path.h"
#include "engine/stream.h"
#include "rdma/byte_channel.h"

#if DWCP_HAS_VERBS
#include <sys/epoll.h>

namespace dwcp {
namespace {

constexpr int kResolveTimeoutMs = 2000;
constexpr int kCallsWaitingMax = 1024;

// What the dialler says first: which stream it calls for, and what it grants.
struct Caller {
  RdmaToken token;
  RingGrant grant;
};
static_assert(sizeof(Caller) == 40, "rdma_cm carries at most 56 bytes of it");

uint16_t* PortOf(sockaddr_storage* address) {
  return address->ss_family == AF_INET6 ? &reinterpret_cast<sockaddr_in6*>(address)->sin6_port
                                        : &reinterpret_cast<sockaddr_in*>(address)->sin_port;
}

sockaddr_storage WithPort(const sockaddr_storage& address, uint16_t port) {
  sockaddr_storage out = address;
  *PortOf(&out) = htons(port);
  return out;
}

const sockaddr* Plain(const sockaddr_storage& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Two descriptions of one queue of events: ours is closed with us, the library's by the library.
class Ears final : public Pollable {
 public:
  using Hear = void (*)(void* owner);
  Ears(Engine* engine, IoLoop* loop, int fd, void* owner, Hear hear)
      : Pollable(engine, loop), owner_(owner), hear_(hear) {
    Open(dup(fd), EPOLLIN);
  }
  void OnEvents(uint32_t) override { hear_(owner_); }
  void Shut() { CloseFd(); }

 private:
  void* owner_;
  Hear hear_;
};

class QueuePairPath final : public RdmaPath {
 public:
  QueuePairPath(Engine* engine, Stream* stream) : engine_(engine), stream_(stream) {}
  ~QueuePairPath() override {
    // An event of this round may still name them.
    if (ears_ != nullptr) {
      ears_->Shut();
      stream_->loop()->Bury(std::move(ears_));
    }
    if (connection_ != nullptr && channel_ != nullptr) connection_->Disconnect();
  }

  bool Dial(const std::shared_ptr<ConnectionEvents>& events, const RdmaToken& token,
            const sockaddr_storage& local, const sockaddr_storage& remote, std::string* why) {
    token_ = token;
    dials_ = true;
    connection_ = Connection::Create(events, this, why);
    if (connection_ == nullptr) return false;
    const sockaddr_storage source = WithPort(local, 0);
    const int result = connection_->ResolveAddress(Plain(source), Plain(remote), kResolveTimeoutMs);
    if (result == 0) return true;
    *why = std::string("no RDMA device reaches the peer: ") + std::strerror(-result);
    return false;
  }

  // A caller that knew the token. False and why.
  bool Answer(const std::shared_ptr<ConnectionEvents>& events, rdma_cm_id* caller,
              const RingGrant& peer, std::string* why) {
    connection_ = Connection::Adopt(events, caller, this);
    if (!MakeChannel(why)) return Reject();
    if (!channel_->Open(peer)) {
      *why = "what the peer grants makes no sense";
      return Reject();
    }
    const RingGrant ours = channel_->grant();
    const int result = connection_->Accept(&ours, sizeof ours);
    if (result == 0) return true;
    *why = std::string("the call was not accepted: ") + std::strerror(-result);
    return false;
  }

  // May end this object.
  void OnEvent(const ConnectionEvents& events, const ConnectionEvents::Event& event) {
    switch (event.type) {
      case RDMA_CM_EVENT_ADDR_RESOLVED:
        if (connection_->ResolveRoute(kResolveTimeoutMs) != 0) Fail("no route by RDMA");
        return;
      case RDMA_CM_EVENT_ROUTE_RESOLVED: {
        std::string why;
        if (!MakeChannel(&why)) return Fail(why);
        const Caller call{token_, channel_->grant()};
        const int result = connection_->Connect(&call, sizeof call);
        if (result != 0) Fail(std::string("no call by RDMA: ") + std::strerror(-result));
        return;
      }
      case RDMA_CM_EVENT_ESTABLISHED: {
        if (!dials_) return;
        RingGrant peer;
        if (event.data_bytes < sizeof peer) return Fail("the peer grants nothing");
        std::memcpy(&peer, event.data.data(), sizeof peer);
        if (!channel_->Open(peer)) return Fail("what the peer grants makes no sense");
        stream_->RdmaConnected();
        return;
      }
      case RDMA_CM_EVENT_TIMEWAIT_EXIT:
      case RDMA_CM_EVENT_CONNECT_RESPONSE:
        return;
      default:
        Fail(std::string("rdma_cm says ") + events.Name(event) + ", status " +
             std::to_string(event.status));
    }
  }

  void Start() override {
    ears_ = std::make_unique<Ears>(engine_, stream_->loop(), channel_->fd(), this, [](void* path) {
      static_cast<QueuePairPath*>(path)->stream_->OnRdma();
    });
  }

  size_t Post(Buffer* buffer, size_t offset) override {
    iovec parts[Buffer::kPartsMax];
    const int count = buffer->Parts(offset, parts);
    // What may not be pinned goes all the same, through memory that is.
    if (!Pin(buffer)) return PostCopy(static_cast<uint8_t*>(parts[0].iov_base), parts[0].iov_len);
    ByteChannel::Piece pieces[Buffer::kPartsMax];
    for (int i = 0; i < count; i++) {
      const auto* start = static_cast<uint8_t*>(parts[i].iov_base);
      const bool is_payload =
          start >= buffer->payload && start < buffer->payload + buffer->capacity;
      pieces[i] = {start, parts[i].iov_len,
                   is_payload ? buffer->pins.payload_key : buffer->pins.meta_key};
    }
    return channel_->Post(pieces, count);
  }
  size_t PostCopy(const uint8_t* bytes, size_t count) override {
    return channel_->PostCopy(bytes, count);
  }
  bool Flush(bool wants_completion) override { return channel_->Flush(wants_completion); }
  uint64_t posted() const override { return channel_->posted(); }
  uint64_t completed() const override { return channel_->completed(); }
  bool Poll() override {
    const bool stands = channel_->Poll();
    if (!stands && why_.empty()) why_ = channel_->why();
    return stands && why_.empty();
  }
  const std::string& why() const override { return why_; }
  size_t readable() const override { return channel_->readable(); }
  size_t Read(const iovec* parts, int count) override { return channel_->Read(parts, count); }
  RdmaCounters counters() const override {
    RdmaCounters out;
    if (channel_ == nullptr) return out;
    const ByteChannelCounters& counters = channel_->counters();
    out.work_requests = counters.work_requests;
    out.doorbells = counters.doorbells;
    out.completions = counters.completions;
    out.arrivals = counters.arrivals;
    out.written_bytes = counters.written_bytes;
    out.copied_bytes = counters.copied_bytes;
    return out;
  }

 private:
  bool MakeChannel(std::string* why) {
    ByteChannelLimits limits;
    limits.ring_bytes = stream_->RdmaRingBytes();
    channel_ = ByteChannel::Create(connection_, limits, why);
    return channel_ != nullptr;
  }

  bool Reject() {
    connection_->Reject();
    return false;
  }

  // Registered once for as long as the buffer lives, which its pool uses again and again.
  bool Pin(Buffer* buffer) {
    Buffer::Pins& pins = buffer->pins;
    if (pins.domain == channel_->domain().get()) return true;
    std::string why;
    const auto enroll = [&](void* start, size_t bytes) {
      return MemoryRegion::Register(channel_->domain(), start, bytes, MemoryRegion::Use::kSource,
                                    &why);
    };
    pins = Buffer::Pins{};
    const auto payload = enroll(buffer->payload, buffer->capacity);
    const auto meta = payload == nullptr ? nullptr : enroll(buffer, sizeof *buffer);
    if (meta == nullptr) {
      stream_->RdmaNote(why);
      return false;
    }
    pins = {payload, meta, channel_->domain().get(), payload->local_key(), meta->local_key()};
    return true;
  }

  void Fail(const std::string& why) {
    if (why_.empty()) why_ = why;
    stream_->RdmaFailed(why);
  }

  Engine* engine_;
  Stream* stream_;
  bool dials_ = false;
  RdmaToken token_{};
  std::shared_ptr<Connection> connection_;
  std::unique_ptr<ByteChannel> channel_;
  std::unique_ptr<Ears> ears_;
  std::string why_;
};

class CmFabric final : public RdmaFabric {
 public:
  CmFabric(Engine* engine, std::shared_ptr<ConnectionEvents> events)
      : engine_(engine), events_(std::move(events)) {
    ears_ = std::make_unique<Ears>(engine, engine->first_loop(), events_->fd(), this,
                                   [](void* fabric) { static_cast<CmFabric*>(fabric)->Hear(); });
  }

  uint16_t Await(Stream* stream, const RdmaToken& token, const sockaddr_storage& local,
                 std::string* why) override {
    if (waiting_.size() >= kCallsWaitingMax) {
      *why = "too many queue pairs are being made";
      return 0;
    }
    const sockaddr_storage address = WithPort(local, 0);
    const std::string key(reinterpret_cast<const char*>(&address), sizeof address);
    std::shared_ptr<Connection>& listener = listeners_[key];
    if (listener == nullptr) {
      auto made = Connection::Create(events_, nullptr, why);
      if (made == nullptr) return 0;
      const int result = made->Listen(Plain(address), kCallsWaitingMax);
      if (result != 0) {
        *why =
            std::string("no RDMA device has the address of this stream: ") + std::strerror(-result);
        return 0;
      }
      listener = std::move(made);
    }
    waiting_[token] = stream;
    return listener->port();
  }

  std::unique_ptr<RdmaPath> Call(Stream* stream, const RdmaToken& token,
                                 const sockaddr_storage& local, const sockaddr_storage& remote,
                                 uint16_t port, std::string* why) override {
    auto path = std::make_unique<QueuePairPath>(engine_, stream);
    if (!path->Dial(events_, token, local, WithPort(remote, port), why)) return nullptr;
    return path;
  }

  void Forget(Stream* stream) override {
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      it = it->second == stream ? waiting_.erase(it) : std::next(it);
    }
  }

 private:
  void Hear() {
    ConnectionEvents::Event event;
    while (events_->Next(&event)) {
      if (event.type == RDMA_CM_EVENT_CONNECT_REQUEST) {
        OnCall(event);
      } else if (event.connection != nullptr && event.connection->owner() != nullptr) {
        static_cast<QueuePairPath*>(event.connection->owner())->OnEvent(*events_, event);
      }
    }
  }

  void OnCall(const ConnectionEvents::Event& event) {
    Caller call;
    std::memcpy(&call, event.data.data(), sizeof call);
    const auto known = event.data_bytes < sizeof call ? waiting_.end() : waiting_.find(call.token);
    if (known == waiting_.end()) {
      Connection::Adopt(events_, event.caller, nullptr)->Reject();
      return;
    }
    Stream* stream = known->second;
    waiting_.erase(known);
    auto path = std::make_unique<QueuePairPath>(engine_, stream);
    std::string why;
    // The caller hears that it was rejected, and says on the socket how it goes on.
    if (path->Answer(events_, event.caller, call.grant, &why)) {
      stream->RdmaCalled(std::move(path));
    } else {
      stream->RdmaNote(why);
    }
  }

  Engine* engine_;
  std::shared_ptr<ConnectionEvents> events_;
  std::unique_ptr<Ears> ears_;
  std::map<std::string, std::shared_ptr<Connection>> listeners_;  // by address of this host
  std::map<RdmaToken, Stream*> waiting_;
};

}  // namespace

std::unique_ptr<RdmaFabric> RdmaFabric::Open(Engine* engine, std::string* why) {
  std::shared_ptr<ConnectionEvents> events = ConnectionEvents::Open(why);
  if (events == nullptr) return nullptr;
  return std::make_unique<CmFabric>(engine, std::move(events));
}

}  // namespace dwcp

#else

#include "rdma/device.h"

namespace dwcp {

std::unique_ptr<RdmaFabric> RdmaFabric::Open(Engine*, std::string* why) {
  ListRdmaPorts(why);
  return nullptr;
}

}  // namespace dwcp
#endif
