#include "engine/engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace dwcp {
namespace {

bool ParseAddress(const std::string& host, int port, sockaddr_storage* out, socklen_t* size) {
  std::memset(out, 0, sizeof *out);
  auto* v4 = reinterpret_cast<sockaddr_in*>(out);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(out);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    *size = sizeof *v4;
    return true;
  }
  if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    *size = sizeof *v6;
    return true;
  }
  return false;
}

std::string AddressText(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return std::string("[") + text + "]:" + std::to_string(ntohs(v6.sin6_port));
  }
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
  inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
  return std::string(text) + ":" + std::to_string(ntohs(v4.sin_port));
}

class Listener final : public Pollable {
 public:
  Listener(Engine* engine, int fd) : Pollable(engine, engine->first_loop()) { Open(fd, EPOLLIN); }
  void OnEvents(uint32_t) override {
    for (int i = 0; i < 64; i++) {
      sockaddr_storage address{};
      socklen_t size = sizeof address;
      const int accepted =
          accept4(fd(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (accepted >= 0) {
        engine_->Accepted(accepted, AddressText(address));
        continue;
      }
      // Out of descriptors: rest until the next tick instead of spinning on a ready listener.
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        engine_->Refused("ERR_DWCP_LIMIT", "no descriptor is left to accept a bulk stream", errno);
        Rest(true);
      }
      return;
    }
  }
  void Rest(bool resting) { Want(EPOLLIN, !resting); }
};

}  // namespace

uint64_t Engine::NowUs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

Engine::Engine(Notify notify, size_t io_threads, size_t encode_threads)
    : notify_(std::move(notify)), encoders_(this, &mutex_, encode_threads) {
  for (size_t i = 0; i < io_threads; i++) loops_.push_back(std::make_unique<IoLoop>(this));
  for (auto& loop : loops_) loop->Start();
}

Engine::~Engine() { Stop(); }

void Engine::Wake() {
  if (stopped_) return;  // the descriptors may be somebody else's by now
  for (auto& loop : loops_) loop->Wake();
}

void Engine::Stop() {
  if (stopping_.exchange(true)) return;
  Wake();
  for (auto& loop : loops_) loop->Join();
  encoders_.Stop();
  std::lock_guard<std::mutex> lock(mutex_);
  stopped_ = true;
  for (auto& entry : links_) entry.second->Fail("ERR_DWCP_CLOSED", "the transport was closed");
  while (!streams_.empty()) streams_.begin()->second->Close("", "");
  senders_.clear();
  receivers_.clear();
  links_.clear();
  rdma_.reset();
  listeners_.clear();
  for (auto& loop : loops_) loop->Close();
}

IoLoop* Engine::LeastLoadedLoop() {
  return std::min_element(
             loops_.begin(), loops_.end(),
             [](const auto& a, const auto& b) { return a->stream_count < b->stream_count; })
      ->get();
}

uint64_t Engine::UntilPacedUs(uint64_t now_us, uint64_t wait_us) {
  for (auto& entry : links_) {
    const uint64_t paced_us = entry.second->Unthrottle(now_us);
    if (paced_us > 0) wait_us = std::min(wait_us, paced_us);
  }
  return wait_us;
}

void Engine::Tick(IoLoop* loop, uint64_t now_us) {
  std::vector<Stream*> late;
  for (auto& entry : streams_) {
    Stream& stream = *entry.second;
    if (stream.loop() != loop) continue;
    if (stream.state() == Stream::State::kAttached) {
      // Acknowledgements and credit are repeated on every stream, so that none of them matters.
      if (stream.OwesAck()) stream.AcksDue();
    } else if (now_us > stream.deadline_us()) {
      late.push_back(&stream);
    }
  }
  for (Stream* stream : late) stream->Late();
  if (loop != first_loop()) return;
  for (auto& entry : links_) entry.second->Tick(now_us);
  for (auto& listener : listeners_) static_cast<Listener*>(listener.get())->Rest(false);
  TellRefusals(now_us);
}

void Engine::Refused(const std::string& code, const std::string& message, int error_number) {
  Refusals& refusals = refusals_[code];
  refusals.untold++;
  refusals.message = message;
  refusals.error_number = error_number;
  TellRefusals(NowUs());
}

void Engine::TellRefusals(uint64_t now_us) {
  for (auto& [code, refusals] : refusals_) {
    if (refusals.untold == 0 || now_us - refusals.told_us < kRefusalsGatheredUs) continue;
    Emit(Event{"refused", refusals.untold, code, refusals.message, refusals.error_number, {}, {}});
    refusals.told_us = now_us;
    refusals.untold = 0;
  }
}

int Engine::Listen(const std::string& host, int port) {
  if (stopped_) return -EBADF;
  sockaddr_storage address;
  socklen_t size;
  if (!ParseAddress(host, port, &address, &size)) return -EINVAL;
  const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) < 0 || listen(fd, 1024) < 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) < 0) {
    const int error_number = errno;
    close(fd);
    return -error_number;
  }
  listeners_.push_back(std::make_unique<Listener>(this, fd));
  return ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

void Engine::Accepted(int fd, const std::string& remote) {
  size_t unjoined = 0;
  Stream* oldest = nullptr;
  for (auto& entry : streams_) {
    Stream* stream = entry.second.get();
    if (stream->dialled() || stream->state() == Stream::State::kAttached) continue;
    if (oldest == nullptr) oldest = stream;
    unjoined++;
  }
  // The oldest had the most time to join; refusing the new one would lock everybody out instead.
  if (unjoined >= kUnjoinedMax) {
    oldest->Close("ERR_DWCP_LIMIT",
                  "too many connections that do not join, one from " + oldest->remote());
  }
  const int id = next_id_++;
  streams_.emplace(id, std::make_unique<Stream>(this, LeastLoadedLoop(), id, fd, false, remote,
                                                NowUs() + kJoinTimeoutUs));
}

int Engine::Dial(const std::string& host, int port, const std::string& local,
                 const std::string& congestion, uint64_t timeout_ms) {
  if (stopped_) return -EBADF;
  sockaddr_storage address;
  socklen_t size;
  if (!ParseAddress(host, port, &address, &size)) return -EINVAL;
  const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  // What the kernel lacks is seen by reading it back, not here.
  setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion.data(),
             static_cast<socklen_t>(congestion.size()));
  int error_number = 0;
  if (!local.empty()) {
    sockaddr_storage bound;
    socklen_t bound_size;
    if (!ParseAddress(local, 0, &bound, &bound_size)) {
      error_number = EINVAL;
    } else if (bind(fd, reinterpret_cast<sockaddr*>(&bound), bound_size) < 0) {
      error_number = errno;
    }
  }
  if (error_number == 0 && connect(fd, reinterpret_cast<sockaddr*>(&address), size) < 0 &&
      errno != EINPROGRESS) {
    error_number = errno;
  }
  if (error_number != 0) {
    close(fd);
    return -error_number;
  }
  const int id = next_id_++;
  streams_.emplace(id, std::make_unique<Stream>(this, LeastLoadedLoop(), id, fd, true,
                                                AddressText(address), NowUs() + timeout_ms * 1000));
  return id;
}

RdmaFabric* Engine::rdma(std::string* why) {
  if (rdma_ == nullptr) rdma_ = RdmaFabric::Open(this, why);
  return rdma_.get();
}

Stream* Engine::stream(int id) {
  auto it = streams_.find(id);
  return it == streams_.end() ? nullptr : it->second.get();
}

void Engine::Retire(int stream_id) {
  auto it = streams_.find(stream_id);
  if (it == streams_.end()) return;
  IoLoop* loop = it->second->loop();
  loop->stream_count--;
  loop->Bury(std::move(it->second));
  streams_.erase(it);
}

Link* Engine::OpenLink(uint64_t window_bytes, uint32_t chunk_bytes) {
  const int id = next_id_++;
  return links_
      .emplace(id, std::make_unique<Link>(this, id, window_bytes, chunk_bytes,
                                          static_cast<uint32_t>(encoders_.size())))
      .first->second.get();
}

Sender* Engine::NextToEncode() {
  for (auto& entry : links_) {
    if (Sender* sender = entry.second->NextToEncode()) return sender;
  }
  return nullptr;
}

void Engine::AwaitEncoders(const std::vector<Sender*>& senders) {
  for (Sender* sender : senders) sender->Retire();
  std::unique_lock<std::mutex> lock(mutex_, std::adopt_lock);
  waiting_++;
  all_inside_.wait(lock, [this, &senders] {
    return outside_ == 0 && std::none_of(senders.begin(), senders.end(),
                                         [](const Sender* sender) { return sender->encoding(); });
  });
  waiting_--;
  lock.release();
}

Link* Engine::link(int id) {
  auto it = links_.find(id);
  return it == links_.end() ? nullptr : it->second.get();
}

void Engine::CloseLink(int id) {
  Link* closing = link(id);
  if (closing == nullptr) return;
  std::vector<Sender*> closing_senders;
  for (auto& [handle, owned] : senders_) {
    if (owned.second == id) closing_senders.push_back(owned.first);
  }
  AwaitEncoders(closing_senders);
  closing->Fail("ERR_DWCP_CLOSED", "the link was closed");
  while (!closing->streams().empty()) closing->streams().back()->Close("", "");
  for (auto it = senders_.begin(); it != senders_.end();) {
    it = it->second.second == id ? senders_.erase(it) : std::next(it);
  }
  for (auto it = receivers_.begin(); it != receivers_.end();) {
    it = it->second.second == id ? receivers_.erase(it) : std::next(it);
  }
  links_.erase(id);
}

Sender* Engine::sender(int handle) {
  auto it = senders_.find(handle);
  return it == senders_.end() ? nullptr : it->second.first;
}

Receiver* Engine::receiver(int handle) {
  auto it = receivers_.find(handle);
  return it == receivers_.end() ? nullptr : it->second.first;
}

void Engine::Register(Sender* sender, int link_id) {
  senders_[sender->handle()] = {sender, link_id};
}

void Engine::Register(Receiver* receiver, int link_id) {
  receivers_[receiver->handle()] = {receiver, link_id};
}

void Engine::CloseTransfer(int handle) {
  if (auto it = senders_.find(handle); it != senders_.end()) {
    AwaitEncoders({it->second.first});
    Link* owner = link(it->second.second);
    senders_.erase(it);
    if (owner != nullptr) owner->RemoveSender(handle);
  } else if (auto it = receivers_.find(handle); it != receivers_.end()) {
    Link* owner = link(it->second.second);
    receivers_.erase(it);
    if (owner != nullptr) owner->RemoveReceiver(handle);
  }
}

void Engine::Emit(Event event) {
  bool first;
  {
    std::lock_guard<std::mutex> lock(event_mutex_);
    first = events_.empty();
    events_.push_back(std::move(event));
  }
  if (first) notify_();
}

bool Engine::Backlogged() {
  std::lock_guard<std::mutex> lock(event_mutex_);
  return events_.size() >= kEventsMax;
}

std::vector<Event> Engine::TakeEvents() {
  std::lock_guard<std::mutex> lock(event_mutex_);
  std::vector<Event> taken;
  taken.swap(events_);
  return taken;
}

}  // namespace dwcp
