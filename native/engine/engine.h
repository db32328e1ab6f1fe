// The native bulk engine: one I/O thread with epoll drives every socket. Callers on other threads
// take its mutex; the thread lets them in between two sockets' turns.
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
  explicit Engine(Notify notify);
  ~Engine();

  class Guard {
   public:
    explicit Guard(Engine* engine) : engine_(engine) {
      engine_->waiting_++;
      engine_->mutex_.lock();
      engine_->waiting_--;
    }
    ~Guard() {
      engine_->mutex_.unlock();
      engine_->Wake();
    }

   private:
    Engine* engine_;
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

  // For the engine's own parts, on whichever thread holds the mutex.
  void Emit(Event event);
  void Accepted(int fd, const std::string& remote);
  // A connection that JavaScript never heard of ended with an error: told, but never as a flood.
  void Refused(const std::string& code, const std::string& message, int error_number);
  bool Backlogged();
  void Retire(int stream_id);
  // Frees `object` once no event of this epoll round can name it.
  void Bury(std::unique_ptr<Pollable> object) { graveyard_.push_back(std::move(object)); }
  int epoll_fd() const { return epoll_fd_; }
  PageDigest* digest_scratch() { return digest_scratch_.data(); }
  static uint64_t NowUs();

 private:
  void Run();
  void Tick(uint64_t now_us);
  void TellRefusals(uint64_t now_us);
  int TimeoutMs(uint64_t now_us);
  void Wake();

  Notify notify_;
  std::mutex mutex_;
  std::atomic<int> waiting_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> stopped_{false};  // the thread is gone and so are the descriptors
  int epoll_fd_ = -1;
  int wake_fd_ = -1;
  int next_id_ = 1;
  int next_handle_ = 1;
  uint64_t last_tick_us_ = 0;
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
  std::vector<std::unique_ptr<Pollable>> graveyard_;
  std::vector<PageDigest> digest_scratch_;
  std::mutex event_mutex_;
  std::vector<Event> events_;
  std::unique_ptr<Pollable> wake_;
  std::thread thread_;
};

}  // namespace dwcp
