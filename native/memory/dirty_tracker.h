// DirtyTracker: which pages were written since the last look.
//
// pagemap-scan  Linux 6.7: the kernel write-protects (userfaultfd WP_ASYNC, registered by the
//               process that owns the mapping) and PAGEMAP_SCAN fetches and protects again in one
//               call.
// soft-dirty    CONFIG_MEM_SOFT_DIRTY: the process is held while its bits are read and cleared.
// rehash        anywhere: a digest of every page, compared with the last one.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "memory/page_kernels.h"
#include "memory/page_set.h"
#include "memory/region.h"

namespace dwcp {

class DirtyTracker {
 public:
  virtual ~DirtyTracker() = default;
  virtual const char* backend() const = 0;
  // Adds what was written since the last scan to `into`, and starts anew. The first scan adds every
  // page. Protect-then-report is one step: a write is in this scan or in the next, never in
  // neither. Returns the pages found. Throws std::system_error when the process is gone.
  virtual uint64_t Scan(PageSet* into) = 0;
};

// Tracks writes that process `pid` makes through its own mapping of the region at `address`.
// Throws std::system_error with ENOTTY or EINVAL where the kernel cannot.
std::unique_ptr<DirtyTracker> MakePagemapTracker(pid_t pid, uint64_t address,
                                                 std::shared_ptr<Region> region);
// The same; throws also where a trial shows that this kernel keeps no such bits, and where this
// user may not hold that process. One per process: a second one clears what the first has not seen.
std::unique_ptr<DirtyTracker> MakeSoftDirtyTracker(pid_t pid, uint64_t address,
                                                   std::shared_ptr<Region> region);
// For the trial itself.
std::unique_ptr<DirtyTracker> MakeUntriedSoftDirtyTracker(pid_t pid, uint64_t address,
                                                          std::shared_ptr<Region> region);
std::unique_ptr<DirtyTracker> MakeRehashTracker(std::shared_ptr<Region> region);

}  // namespace dwcp
