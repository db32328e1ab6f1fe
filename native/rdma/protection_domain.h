// All that one process registers with one device: regions and queue pairs of a domain may meet.
#pragma once
#include <memory>
#include <string>

#include "rdma/library.h"

#if DWCP_HAS_VERBS
namespace dwcp {

class ProtectionDomain {
 public:
  // Of a device that rdma_cm opened, the same one for everybody; null and why.
  static std::shared_ptr<ProtectionDomain> Of(ibv_context* device, std::string* why);
  ProtectionDomain(const VerbsLibrary& verbs, ibv_pd* domain) : verbs_(verbs), domain_(domain) {}
  ~ProtectionDomain() { verbs_.dealloc_pd(domain_); }
  ProtectionDomain(const ProtectionDomain&) = delete;
  ProtectionDomain& operator=(const ProtectionDomain&) = delete;

  const VerbsLibrary& verbs() const { return verbs_; }
  ibv_pd* get() const { return domain_; }
  ibv_context* device() const { return domain_->context; }

 private:
  const VerbsLibrary& verbs_;
  ibv_pd* domain_;
};

}  // namespace dwcp
#endif
