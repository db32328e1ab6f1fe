// Where a device says what it has done; its descriptor is for epoll.
#pragma once
#include <memory>
#include <string>

#include "rdma/protection_domain.h"

#if DWCP_HAS_VERBS
namespace dwcp {

class CompletionQueue {
 public:
  static constexpr int kBatch = 32;
  // Null and why.
  static std::unique_ptr<CompletionQueue> Create(std::shared_ptr<ProtectionDomain> domain,
                                                 int entries, std::string* why);
  ~CompletionQueue();
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  int fd() const { return channel_->fd; }
  ibv_cq* get() const { return queue_; }
  // The next completion makes the descriptor readable. Look once more after it: what came before is
  // not told.
  bool Arm() { return ibv_req_notify_cq(queue_, 0) == 0; }
  // The descriptor is readable no more.
  void TakeEvents();
  // How many completions it put into `out`, or less than 0.
  int Poll(ibv_wc (&out)[kBatch]) { return ibv_poll_cq(queue_, kBatch, out); }

 private:
  CompletionQueue(std::shared_ptr<ProtectionDomain> domain, ibv_comp_channel* channel,
                  ibv_cq* queue)
      : domain_(std::move(domain)), channel_(channel), queue_(queue) {}

  std::shared_ptr<ProtectionDomain> domain_;
  ibv_comp_channel* channel_;
  ibv_cq* queue_;
  unsigned unacknowledged_ = 0;
};

}  // namespace dwcp
#endif
