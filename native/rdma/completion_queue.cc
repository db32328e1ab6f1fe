#include "rdma/completion_queue.h"

#if DWCP_HAS_VERBS
#include <errno.h>
#include <fcntl.h>

#include <cstring>

namespace dwcp {
namespace {

// Acknowledging takes a lock in the library, so not each event alone.
constexpr unsigned kAcknowledgeEvery = 64;

}  // namespace

std::unique_ptr<CompletionQueue> CompletionQueue::Create(std::shared_ptr<ProtectionDomain> domain,
                                                         int entries, std::string* why) {
  const VerbsLibrary& verbs = domain->verbs();
  ibv_comp_channel* channel = verbs.create_comp_channel(domain->device());
  if (channel == nullptr) {
    *why = std::string("no completion channel: ") + std::strerror(errno);
    return nullptr;
  }
  fcntl(channel->fd, F_SETFL, fcntl(channel->fd, F_GETFL) | O_NONBLOCK);
  fcntl(channel->fd, F_SETFD, FD_CLOEXEC);
  ibv_cq* queue = verbs.create_cq(domain->device(), entries, nullptr, channel, 0);
  if (queue == nullptr) {
    *why = std::string("no completion queue: ") + std::strerror(errno);
    verbs.destroy_comp_channel(channel);
    return nullptr;
  }
  return std::unique_ptr<CompletionQueue>(new CompletionQueue(std::move(domain), channel, queue));
}

CompletionQueue::~CompletionQueue() {
  const VerbsLibrary& verbs = domain_->verbs();
  // The library waits for as many acknowledgements as it gave events.
  if (unacknowledged_ > 0) verbs.ack_cq_events(queue_, unacknowledged_);
  verbs.destroy_cq(queue_);
  verbs.destroy_comp_channel(channel_);
}

void CompletionQueue::TakeEvents() {
  const VerbsLibrary& verbs = domain_->verbs();
  ibv_cq* queue = nullptr;
  void* context = nullptr;
  while (verbs.get_cq_event(channel_, &queue, &context) == 0) unacknowledged_++;
  if (unacknowledged_ < kAcknowledgeEvery) return;
  verbs.ack_cq_events(queue_, unacknowledged_);
  unacknowledged_ = 0;
}

}  // namespace dwcp
#endif
