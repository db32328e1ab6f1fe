// Finding the peer and agreeing to talk, by rdma_cm. Nothing here waits: each step is answered by
// an event of the channel.
#pragma once
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "rdma/library.h"

#if DWCP_HAS_VERBS
namespace dwcp {

class Connection;

class ConnectionEvents {
 public:
  // What the other side says when it asks or accepts; rdma_cm pads it with zeros.
  static constexpr size_t kDataBytesMax = 196;
  struct Event {
    rdma_cm_event_type type;
    int status;  // of the step, as rdma_cm has it; 0 when it went well
    Connection* connection;
    rdma_cm_id* caller;  // of a request to connect: to be adopted, or it is never answered
    size_t data_bytes;
    std::array<uint8_t, kDataBytesMax> data;
  };
  static std::shared_ptr<ConnectionEvents> Open(std::string* why);
  ConnectionEvents(const VerbsLibrary& verbs, rdma_event_channel* channel)
      : verbs_(verbs), channel_(channel) {}
  ~ConnectionEvents() { verbs_.destroy_event_channel(channel_); }
  ConnectionEvents(const ConnectionEvents&) = delete;
  ConnectionEvents& operator=(const ConnectionEvents&) = delete;

  const VerbsLibrary& verbs() const { return verbs_; }
  rdma_event_channel* get() const { return channel_; }
  int fd() const { return channel_->fd; }
  // False when there is none. It is acknowledged already, so whoever hears it may end its
  // connection.
  bool Next(Event* out);
  const char* Name(const Event& event) const { return verbs_.event_str(event.type); }

 private:
  const VerbsLibrary& verbs_;
  rdma_event_channel* channel_;
};

class Connection {
 public:
  // Null and why.
  static std::shared_ptr<Connection> Create(std::shared_ptr<ConnectionEvents> events, void* owner,
                                            std::string* why);
  // Of a caller: its queue pair and answer are ours to make.
  static std::shared_ptr<Connection> Adopt(std::shared_ptr<ConnectionEvents> events,
                                           rdma_cm_id* caller, void* owner);
  Connection(std::shared_ptr<ConnectionEvents> events, rdma_cm_id* id, void* owner);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const VerbsLibrary& verbs() const { return events_->verbs(); }
  rdma_cm_id* id() const { return id_; }
  void* owner() const { return owner_; }
  // Null until the address was resolved, or for a listener of every address.
  ibv_context* device() const { return id_->verbs; }

  // Each of these: 0, or minus errno.
  int Listen(const sockaddr* address, int backlog);
  int ResolveAddress(const sockaddr* source, const sockaddr* target, int timeout_ms);
  int ResolveRoute(int timeout_ms);
  int Connect(const void* data, size_t bytes);
  int Accept(const void* data, size_t bytes);
  int Reject();
  int Disconnect();
  uint16_t port() const;  // host order

 private:
  std::shared_ptr<ConnectionEvents> events_;
  rdma_cm_id* id_;
  void* owner_;
};

}  // namespace dwcp
#endif
