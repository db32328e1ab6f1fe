#include "rdma/protection_domain.h"

#if DWCP_HAS_VERBS
#include <errno.h>

#include <cstring>
#include <map>
#include <mutex>

namespace dwcp {

std::shared_ptr<ProtectionDomain> ProtectionDomain::Of(ibv_context* device, std::string* why) {
  static std::mutex mutex;
  static std::map<ibv_context*, std::weak_ptr<ProtectionDomain>> domains;
  const VerbsLibrary* verbs = VerbsLibrary::Load(why);
  if (verbs == nullptr) return nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  std::weak_ptr<ProtectionDomain>& known = domains[device];
  if (std::shared_ptr<ProtectionDomain> domain = known.lock()) return domain;
  ibv_pd* made = verbs->alloc_pd(device);
  if (made == nullptr) {
    *why = std::string("no protection domain: ") + std::strerror(errno);
    return nullptr;
  }
  auto domain = std::make_shared<ProtectionDomain>(*verbs, made);
  known = domain;
  return domain;
}

}  // namespace dwcp
#endif
