#include "rdma/connection.h"

#if DWCP_HAS_VERBS
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <cstring>

namespace dwcp {
namespace {

// 4.096 us times two to the power of this, 0.5 s, without an answer and the card tries again; so
// often, and the queue pair is in error: a host that is gone is known within some four seconds, and
// not in half a minute, as rdma_cm would have it.
constexpr uint8_t kAnswerTimeout = 17;
constexpr uint8_t kRetries = 6;  // soft-RoCE takes 7 for ever
// Credits keep us from ever finding the peer without a receive; these are for one that is slow to
// post the first ones.
constexpr uint8_t kReceiverNotReadyRetries = 3;

rdma_conn_param ParametersOf(const void* data, size_t bytes) {
  rdma_conn_param parameters{};
  parameters.private_data = data;
  parameters.private_data_len = static_cast<uint8_t>(bytes);
  parameters.retry_count = kRetries;
  parameters.rnr_retry_count = kReceiverNotReadyRetries;
  return parameters;
}

int Answer(int result) { return result == 0 ? 0 : -errno; }

bool CarriesData(rdma_cm_event_type type) {
  return type == RDMA_CM_EVENT_CONNECT_REQUEST || type == RDMA_CM_EVENT_CONNECT_RESPONSE ||
         type == RDMA_CM_EVENT_ESTABLISHED || type == RDMA_CM_EVENT_REJECTED;
}

}  // namespace

std::shared_ptr<ConnectionEvents> ConnectionEvents::Open(std::string* why) {
  const VerbsLibrary* verbs = VerbsLibrary::Load(why);
  if (verbs == nullptr) return nullptr;
  rdma_event_channel* channel = verbs->create_event_channel();
  if (channel == nullptr) {
    *why = std::string("rdma_cm does not answer (modprobe rdma_ucm): ") + std::strerror(errno);
    return nullptr;
  }
  fcntl(channel->fd, F_SETFL, fcntl(channel->fd, F_GETFL) | O_NONBLOCK);
  fcntl(channel->fd, F_SETFD, FD_CLOEXEC);
  return std::make_shared<ConnectionEvents>(*verbs, channel);
}

bool ConnectionEvents::Next(Event* out) {
  rdma_cm_event* event = nullptr;
  if (verbs_.get_cm_event(channel_, &event) != 0) return false;
  const bool is_call = event->event == RDMA_CM_EVENT_CONNECT_REQUEST;
  *out = Event{};
  out->type = event->event;
  out->status = event->status;
  rdma_cm_id* id = is_call ? event->listen_id : event->id;
  out->connection = static_cast<Connection*>(id->context);
  out->caller = is_call ? event->id : nullptr;
  const rdma_conn_param& parameters = event->param.conn;
  if (CarriesData(event->event) && parameters.private_data != nullptr) {
    out->data_bytes = std::min<size_t>(parameters.private_data_len, kDataBytesMax);
    std::memcpy(out->data.data(), parameters.private_data, out->data_bytes);
  }
  verbs_.ack_cm_event(event);
  return true;
}

std::shared_ptr<Connection> Connection::Create(std::shared_ptr<ConnectionEvents> events,
                                               void* owner, std::string* why) {
  rdma_cm_id* id = nullptr;
  if (events->verbs().create_id(events->get(), &id, nullptr, RDMA_PS_TCP) != 0) {
    *why = std::string("no connection of rdma_cm: ") + std::strerror(errno);
    return nullptr;
  }
  return std::make_shared<Connection>(std::move(events), id, owner);
}

std::shared_ptr<Connection> Connection::Adopt(std::shared_ptr<ConnectionEvents> events,
                                              rdma_cm_id* caller, void* owner) {
  return std::make_shared<Connection>(std::move(events), caller, owner);
}

Connection::Connection(std::shared_ptr<ConnectionEvents> events, rdma_cm_id* id, void* owner)
    : events_(std::move(events)), id_(id), owner_(owner) {
  id_->context = this;
  uint8_t timeout = kAnswerTimeout;
  // A kernel that does not know it goes on with its own.
  verbs().set_option(id_, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof timeout);
}

Connection::~Connection() { verbs().destroy_id(id_); }

int Connection::Listen(const sockaddr* address, int backlog) {
  const int bound = Answer(verbs().bind_addr(id_, const_cast<sockaddr*>(address)));
  return bound != 0 ? bound : Answer(verbs().listen(id_, backlog));
}

int Connection::ResolveAddress(const sockaddr* source, const sockaddr* target, int timeout_ms) {
  return Answer(verbs().resolve_addr(id_, const_cast<sockaddr*>(source),
                                     const_cast<sockaddr*>(target), timeout_ms));
}

int Connection::ResolveRoute(int timeout_ms) {
  return Answer(verbs().resolve_route(id_, timeout_ms));
}

int Connection::Connect(const void* data, size_t bytes) {
  rdma_conn_param parameters = ParametersOf(data, bytes);
  return Answer(verbs().connect(id_, &parameters));
}

int Connection::Accept(const void* data, size_t bytes) {
  rdma_conn_param parameters = ParametersOf(data, bytes);
  return Answer(verbs().accept(id_, &parameters));
}

int Connection::Reject() { return Answer(verbs().reject(id_, nullptr, 0)); }

int Connection::Disconnect() { return Answer(verbs().disconnect(id_)); }

uint16_t Connection::port() const { return ntohs(verbs().get_src_port(id_)); }

}  // namespace dwcp
#endif
