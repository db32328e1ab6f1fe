// A reliable connected queue pair. rdma_cm takes it from reset to ready to send while the
// connection is made; from then on it is ours to bring into error, once, which returns everything
// that was posted to it as flushed.
#pragma once
#include <memory>
#include <string>

#include "rdma/completion_queue.h"
#include "rdma/connection.h"

#if DWCP_HAS_VERBS
namespace dwcp {

class QueuePair {
 public:
  enum class State { kReset, kInit, kReadyToReceive, kReadyToSend, kDraining, kError, kUnknown };
  struct Depth {
    uint32_t sends, receives, parts, inline_bytes;
  };
  // Null and why. Its completions, of both directions, go to `completions`.
  static std::unique_ptr<QueuePair> Create(std::shared_ptr<Connection> connection,
                                           std::shared_ptr<ProtectionDomain> domain,
                                           std::shared_ptr<CompletionQueue> completions,
                                           const Depth& depth, std::string* why);
  // From here on the device touches nothing any more that was posted or granted through it.
  ~QueuePair();
  QueuePair(const QueuePair&) = delete;
  QueuePair& operator=(const QueuePair&) = delete;

  // 0, or minus errno. A chain is one doorbell.
  int PostSends(ibv_send_wr* first);
  int PostReceives(ibv_recv_wr* first);
  // 0, or minus errno. The device stops sending and receiving; what is outstanding comes back as
  // flushed.
  int MoveToError();
  State state() const;
  const char* StatusText(ibv_wc_status status) const;

 private:
  QueuePair(std::shared_ptr<Connection> connection, std::shared_ptr<ProtectionDomain> domain,
            std::shared_ptr<CompletionQueue> completions)
      : connection_(std::move(connection)),
        domain_(std::move(domain)),
        completions_(std::move(completions)),
        pair_(connection_->id()->qp) {}

  std::shared_ptr<Connection> connection_;
  std::shared_ptr<ProtectionDomain> domain_;
  std::shared_ptr<CompletionQueue> completions_;
  ibv_qp* pair_;
};

}  // namespace dwcp
#endif
