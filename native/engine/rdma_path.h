// A queue pair in the place of a stream's socket. What the engine sees of it has nothing of verbs
// in it, so that it is built, and says why it has none, on machines without their headers.
#pragma once
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

namespace dwcp {

class Engine;
class Stream;
struct Buffer;

// Whether the streams of a link are to be carried by queue pairs.
enum class RdmaWish : uint8_t {
  kOff,
  kPrefer,   // and by their sockets where that does not work, which is told
  kRequire,  // a stream without one ends
};

struct RdmaCounters {
  uint64_t work_requests = 0, doorbells = 0, completions = 0, arrivals = 0;
  uint64_t written_bytes = 0, copied_bytes = 0;

  void Add(const RdmaCounters& other) {
    work_requests += other.work_requests;
    doorbells += other.doorbells;
    completions += other.completions;
    arrivals += other.arrivals;
    written_bytes += other.written_bytes;
    copied_bytes += other.copied_bytes;
  }
};

constexpr size_t kRdmaTokenBytes = 16;
using RdmaToken = std::array<uint8_t, kRdmaTokenBytes>;

// One stream's. Its owner is told by Stream::RdmaConnected and RdmaFailed while it is made; once it
// carries, by Stream::OnRdma on the stream's own loop. Gone with this object, the device touches
// nothing of ours any more.
class RdmaPath {
 public:
  virtual ~RdmaPath() = default;
  // Both sides have agreed to use it: from here on the stream hears of what arrives.
  virtual void Start() = 0;
  // Each takes what there is room for, and says how much. What Post took of a buffer stays as it is
  // until `completed` reaches what `posted` was then.
  virtual size_t Post(Buffer* buffer, size_t offset) = 0;
  virtual size_t PostCopy(const uint8_t* bytes, size_t count) = 0;
  virtual bool Flush(bool wants_completion) = 0;
  virtual uint64_t posted() const = 0;
  virtual uint64_t completed() const = 0;
  // What the device did meanwhile. False once the path is lost.
  virtual bool Poll() = 0;
  virtual const std::string& why() const = 0;
  virtual size_t readable() const = 0;
  virtual size_t Read(const iovec* parts, int count) = 0;
  virtual RdmaCounters counters() const = 0;
};

// What an engine has of RDMA: one listener per address of this host, one source of events.
class RdmaFabric {
 public:
  // Null and why.
  static std::unique_ptr<RdmaFabric> Open(Engine* engine, std::string* why);
  virtual ~RdmaFabric() = default;
  // The address where the peer may call with this token, for a stream that was accepted at `local`.
  // The port, or 0 and why.
  virtual uint16_t Await(Stream* stream, const RdmaToken& token, const sockaddr_storage& local,
                         std::string* why) = 0;
  // Calls for a stream that was dialled. Null and why.
  virtual std::unique_ptr<RdmaPath> Call(Stream* stream, const RdmaToken& token,
                                         const sockaddr_storage& local,
                                         const sockaddr_storage& remote, uint16_t port,
                                         std::string* why) = 0;
  // No call for this stream is expected any more.
  virtual void Forget(Stream* stream) = 0;
};

}  // namespace dwcp
