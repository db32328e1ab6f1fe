#include "rdma/queue_pair.h"

#if DWCP_HAS_VERBS
#include <errno.h>

#include <cstring>

namespace dwcp {

std::unique_ptr<QueuePair> QueuePair::Create(std::shared_ptr<Connection> connection,
                                             std::shared_ptr<ProtectionDomain> domain,
                                             std::shared_ptr<CompletionQueue> completions,
                                             const Depth& depth, std::string* why) {
  ibv_qp_init_attr wanted{};
  wanted.qp_type = IBV_QPT_RC;
  wanted.send_cq = wanted.recv_cq = completions->get();
  wanted.cap.max_send_wr = depth.sends;
  wanted.cap.max_recv_wr = depth.receives;
  wanted.cap.max_send_sge = depth.parts;
  wanted.cap.max_recv_sge = 1;
  wanted.cap.max_inline_data = depth.inline_bytes;
  if (domain->verbs().create_qp(connection->id(), domain->get(), &wanted) != 0) {
    *why = std::string("no queue pair: ") + std::strerror(errno);
    return nullptr;
  }
  return std::unique_ptr<QueuePair>(
      new QueuePair(std::move(connection), std::move(domain), std::move(completions)));
}

QueuePair::~QueuePair() { domain_->verbs().destroy_qp(connection_->id()); }

int QueuePair::PostSends(ibv_send_wr* first) {
  ibv_send_wr* refused = nullptr;
  return -ibv_post_send(pair_, first, &refused);
}

int QueuePair::PostReceives(ibv_recv_wr* first) {
  ibv_recv_wr* refused = nullptr;
  return -ibv_post_recv(pair_, first, &refused);
}

int QueuePair::MoveToError() {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_ERR;
  return -domain_->verbs().modify_qp(pair_, &attributes, IBV_QP_STATE);
}

QueuePair::State QueuePair::state() const {
  ibv_qp_attr attributes{};
  ibv_qp_init_attr initial{};
  if (domain_->verbs().query_qp(pair_, &attributes, IBV_QP_STATE, &initial) != 0) {
    return State::kUnknown;
  }
  switch (attributes.qp_state) {
    case IBV_QPS_RESET:
      return State::kReset;
    case IBV_QPS_INIT:
      return State::kInit;
    case IBV_QPS_RTR:
      return State::kReadyToReceive;
    case IBV_QPS_RTS:
      return State::kReadyToSend;
    case IBV_QPS_SQD:
      return State::kDraining;
    case IBV_QPS_SQE:
    case IBV_QPS_ERR:
      return State::kError;
    default:
      return State::kUnknown;
  }
}

const char* QueuePair::StatusText(ibv_wc_status status) const {
  return domain_->verbs().wc_status_str(status);
}

}  // namespace dwcp
#endif
