// The native bulk engine: a few I/O threads with epoll drive the sockets. One lock covers all that
// is decided; a thread leaves it (Outside) only to touch bytes: to copy, hash, send, receive and
// land. A caller from elsewhere (Guard) gets the lock once nobody is outside, so it may close
// anything.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/encode_pool.h"
#include "engine/io_loop.h"
#include "engine/link.h"
#include "engine/stream.h"

namespace dwcp {

constexpr size_t kUnjoinedMax = 1024;
constexpr uint64_t kJoinTimeoutUs = 5000000;
// Refused strangers are told one by one at first, then gathered for this long.
constexpr uint64_t kRefusalsGatheredUs = 1000000;
// While JavaScript is this far behind, nobody new may join.
constexpr size_t kEventsMax = 8192;

// What JavaScript hears. `id` is a stream or transfer handle, or a number of connections, by type.
struct Event {
  const char* type;
  int id;
  std::string code;
  std::string message;
  int error_number = 0;
  std::vector<uint8_t> bytes;
  std::vector<uint8_t> challenge;
};

class Engine {
 public:
  using Notify = std::function<void()>;
  // `notify` is called from any thread when the event queue stops being empty.
  Engine(Notify notify, size_t io_threads, size_t encode_threads);
  ~Engine();

  class Guard {
   public:
    explicit Guard(Engine* engine) : engine_(engine), lock_(engine->mutex_, std::defer_lock) {
      engine_->waiting_++;
      lock_.lock();
      engine_->all_inside_.wait(lock_, [this] { return engine_->outside_ == 0; });
      engine_->waiting_--;
    }
    ~Guard() {
      lock_.unlock();
      engine_->Wake();
    }

   private:
    Engine* engine_;
    std::unique_lock<std::mutex> lock_;
  };

  // An I/O thread's turn with one socket: it holds the lock, and lets a waiting Guard go first.
  class Turn {
   public:
    explicit Turn(Engine* engine) : engine_(engine) {
      while (engine_->waiting_ > 0) std::this_thread::yield();
      engine_->mutex_.lock();
    }
    ~Turn() { engine_->mutex_.unlock(); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Engine* engine_;
  };

  // Within a turn: bytes are touched without the lock. Nothing that the thread holds can be closed
  // meanwhile, but the other I/O threads decide on.
  class Outside {
   public:
    explicit Outside(Engine* engine) : engine_(engine) {
      engine_->outside_++;
      engine_->mutex_.unlock();
    }
    ~Outside() {
      engine_->mutex_.lock();
      if (--engine_->outside_ == 0 && engine_->waiting_ > 0) engine_->all_inside_.notify_all();
    }
    Outside(const Outside&) = delete;
    Outside& operator=(const Outside&) = delete;

   private:
    Engine* engine_;
  };

  // On an encode worker: bytes are touched without the lock, and callers from elsewhere do not wait
  // for it; only who would free what the worker works on does.
  class Detached {
   public:
    Detached(Engine* engine, Sender* sender) : engine_(engine), sender_(sender) {
      sender_->encoding_++;
      engine_->mutex_.unlock();
    }
    ~Detached() {
      engine_->mutex_.lock();
      if (--sender_->encoding_ == 0 && engine_->waiting_ > 0) engine_->all_inside_.notify_all();
    }
    Detached(const Detached&) = delete;
    Detached& operator=(const Detached&) = delete;

   private:
    Engine* engine_;
    Sender* sender_;
  };

  // All of these: under a Guard. Listen returns the port, or minus errno.
  int Listen(const std::string& host, int port);
  int Dial(const std::string& host, int port, const std::string& local,
           const std::string& congestion, uint64_t timeout_ms);
  Stream* stream(int id);
  Link* OpenLink(uint64_t window_bytes, uint32_t chunk_bytes);
  Link* link(int id);
  void CloseLink(int id);
  Sender* sender(int handle);
  Receiver* receiver(int handle);
  void CloseTransfer(int handle);
  int NextHandle() { return next_handle_++; }
  void Register(Sender* sender, int link_id);
  void Register(Receiver* receiver, int link_id);

  // Not under a Guard.
  void Stop();
  std::vector<Event> TakeEvents();

  // For the engine's own parts, on whichever thread holds the lock.
  void Emit(Event event);
  void Accepted(int fd, const std::string& remote);
  // A connection that JavaScript never heard of ended with an error: told, but never as a flood.
  void Refused(const std::string& code, const std::string& message, int error_number);
  bool Backlogged();
  void Retire(int stream_id);
  void Tick(IoLoop* loop, uint64_t now_us);
  // Microseconds until a paced link may send again, at most `wait_us`.
  uint64_t UntilPacedUs(uint64_t now_us, uint64_t wait_us);
  // Sockets that need no balance.
  IoLoop* first_loop() { return loops_.front().get(); }
  bool stopping() const { return stopping_; }
  void StartEncoders() { encoders_.Start(); }
  void KickEncoders() { encoders_.Kick(); }
  Sender* NextToEncode();
  // Somebody waits for the lock: the turn should end.
  bool wanted() const { return waiting_ > 0; }
  static uint64_t NowUs();
  // Opened by the first who asks; null and why.
  RdmaFabric* rdma(std::string* why);
  void ForgetRdma(Stream* stream) {
    if (rdma_ != nullptr) rdma_->Forget(stream);
  }

 private:
  void TellRefusals(uint64_t now_us);
  IoLoop* LeastLoadedLoop();
  void Wake();
  // Under a Guard, which it leaves and enters again: no worker builds for these any more.
  void AwaitEncoders(const std::vector<Sender*>& senders);

  Notify notify_;
  std::mutex mutex_;
  std::atomic<int> waiting_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> stopped_{false};  // the threads are gone and so are the descriptors
  int outside_ = 0;
  std::condition_variable all_inside_;  // nobody is outside any more
  int next_id_ = 1;
  int next_handle_ = 1;
  std::vector<std::unique_ptr<Pollable>> listeners_;
  std::map<int, std::unique_ptr<Stream>> streams_;
  std::map<int, std::unique_ptr<Link>> links_;
  std::unordered_map<int, std::pair<Sender*, int>> senders_;
  std::unordered_map<int, std::pair<Receiver*, int>> receivers_;
  struct Refusals {
    uint64_t told_us = 0;
    int untold = 0;
    int error_number = 0;
    std::string message;
  };
  std::map<std::string, Refusals> refusals_;  // by code
  std::mutex event_mutex_;
  std::vector<Event> events_;
  std::vector<std::unique_ptr<IoLoop>> loops_;
  std::unique_ptr<RdmaFabric> rdma_;
  EncodePool encoders_;
};

}  // namespace dwcp
