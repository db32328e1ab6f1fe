#include "rdma/memory_region.h"

#if DWCP_HAS_VERBS
#include <errno.h>
#include <sys/resource.h>

#include <cstring>

namespace dwcp {
namespace {

std::string WhyRefused(size_t bytes, int error_number) {
  const std::string what = "cannot register " + std::to_string(bytes / 1024) + " KiB: ";
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  const bool is_locked_out = error_number == ENOMEM && limit.rlim_cur != RLIM_INFINITY;
  if (!is_locked_out) return what + std::strerror(error_number);
  return what + "this process may lock " + std::to_string(limit.rlim_cur / 1024) +
         " KiB (RLIMIT_MEMLOCK); raise it by ulimit -l unlimited or LimitMEMLOCK=infinity";
}

}  // namespace

PinBudget& PinBudget::Process() {
  static PinBudget budget;
  return budget;
}

bool PinBudget::Take(size_t bytes) {
  const size_t before = pinned_.fetch_add(bytes);
  if (before + bytes <= limit_) return true;
  pinned_ -= bytes;
  return false;
}

std::shared_ptr<MemoryRegion> MemoryRegion::Register(std::shared_ptr<ProtectionDomain> domain,
                                                     void* start, size_t bytes, Use use,
                                                     std::string* why) {
  PinBudget& budget = PinBudget::Process();
  if (!budget.Take(bytes)) {
    *why = "more than " + std::to_string(budget.limit_bytes() >> 20) + " MiB would be pinned";
    return nullptr;
  }
  int access = 0;
  if (use != Use::kSource) access |= IBV_ACCESS_LOCAL_WRITE;
  if (use == Use::kGranted) access |= IBV_ACCESS_REMOTE_WRITE;
  // Not the macro of the header, which would want the library at link time.
  const auto reg_mr = domain->verbs().reg_mr;
  ibv_mr* region = reg_mr(domain->get(), start, bytes, access);
  if (region == nullptr) {
    *why = WhyRefused(bytes, errno);
    budget.Give(bytes);
    return nullptr;
  }
  return std::make_shared<MemoryRegion>(std::move(domain), region);
}

MemoryRegion::~MemoryRegion() {
  PinBudget::Process().Give(region_->length);
  domain_->verbs().dereg_mr(region_);
}

}  // namespace dwcp
#endif
