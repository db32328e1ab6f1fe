// Memory that a device may reach: pinned, bounded over the whole process, and revoked with the
// object. Who holds memory that is registered again and again keeps its region beside it
// (engine/staging.h), which is the cache: a chunk costs no registration in the steady state.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "rdma/protection_domain.h"

#if DWCP_HAS_VERBS
namespace dwcp {

// How much this process lets its devices pin.
class PinBudget {
 public:
  static PinBudget& Process();
  bool Take(size_t bytes);
  void Give(size_t bytes) { pinned_ -= bytes; }
  size_t pinned_bytes() const { return pinned_; }
  size_t limit_bytes() const { return limit_; }
  void SetLimit(size_t bytes) { limit_ = bytes; }

 private:
  std::atomic<size_t> pinned_{0};
  std::atomic<size_t> limit_{size_t{2} << 30};
};

class MemoryRegion {
 public:
  // kSource: the device reads it for what we post. kSink: it also writes what we receive.
  // kGranted: the peer writes into it, too, by its remote key.
  enum class Use { kSource, kSink, kGranted };
  // Null and why: the budget, or what the kernel lets this process lock.
  static std::shared_ptr<MemoryRegion> Register(std::shared_ptr<ProtectionDomain> domain,
                                                void* start, size_t bytes, Use use,
                                                std::string* why);
  MemoryRegion(std::shared_ptr<ProtectionDomain> domain, ibv_mr* region)
      : domain_(std::move(domain)), region_(region) {}
  ~MemoryRegion();
  MemoryRegion(const MemoryRegion&) = delete;
  MemoryRegion& operator=(const MemoryRegion&) = delete;

  const ProtectionDomain* domain() const { return domain_.get(); }
  uint32_t local_key() const { return region_->lkey; }
  uint32_t remote_key() const { return region_->rkey; }
  uint64_t address() const { return reinterpret_cast<uint64_t>(region_->addr); }
  size_t bytes() const { return region_->length; }

 private:
  std::shared_ptr<ProtectionDomain> domain_;
  ibv_mr* region_;
};

}  // namespace dwcp
#endif
