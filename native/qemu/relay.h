// A thread between two unix sockets of this host: a QEMU on one side, a carried byte stream of ours
// on the other. It outlives neither; whoever made it stops it.
#pragma once
#include <poll.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace dwcp::qemu {

// More than this waits nowhere: the other side has to.
constexpr size_t kQueuedBytesMax = 1 << 20;
constexpr size_t kPieceBytes = 256 * 1024;

struct RelayEvent {
  const char* type;
  std::string message;
};

// One connection, non-blocking, and what waits to be written to it.
class Peer {
 public:
  ~Peer() { Close(); }
  void Adopt(int fd) { fd_ = fd; }
  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void Close();
  size_t queued_bytes() const { return queue_.size() - written_; }
  bool full() const { return queued_bytes() >= kQueuedBytesMax; }
  void Write(const uint8_t* bytes, size_t count);
  std::vector<uint8_t>& queue() { return queue_; }
  // Ends our direction once all was written.
  void EndAfterQueue() { ending_ = true; }
  // False when the other side is gone.
  bool Flush();
  // Bytes read, 0 when none are there, -1 at the end or on an error.
  ssize_t Read(uint8_t* bytes, size_t count);

 private:
  int fd_ = -1;
  std::vector<uint8_t> queue_;
  size_t written_ = 0;
  bool ending_ = false;
};

class Relay {
 public:
  // Called from any thread when events wait.
  using Notify = std::function<void()>;
  explicit Relay(Notify notify);
  virtual ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;
  std::vector<RelayEvent> TakeEvents();
  // Idempotent. Must be called before the derived object goes.
  void Stop();

 protected:
  void Start();
  void Wake();
  void Emit(const char* type, std::string message = "");
  // On the thread, under no lock: what to wait for, and what came of it.
  virtual void Prepare(std::vector<pollfd>* wanted) = 0;
  virtual void Turn(const std::vector<pollfd>& ready) = 0;
  // Takes the one connection that is waited for and listens no more; -1 when none is there. `error`
  // is set when none will be: what cannot be accepted would wake for ever.
  static int AcceptOnce(int* listen_fd, const std::string& path, int* error);
  static short EventsOf(const std::vector<pollfd>& ready, int fd);

 private:
  void Run();

  Notify notify_;
  int wake_fd_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
  std::mutex event_mutex_;
  std::vector<RelayEvent> events_;
};

}  // namespace dwcp::qemu
