#include "memory/tracking_probe.h"

#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "memory/dirty_tracker.h"
#include "memory/page_set.h"
#include "memory/region.h"
#include "memory/write_tracking.h"

namespace dwcp {
namespace {

constexpr uint64_t kProbePages = 64;
constexpr uint64_t kProbeStride = 7;

struct Descriptor {
  int fd;
  ~Descriptor() { close(fd); }
};

std::shared_ptr<Region> ProbeRegion() {
  const auto region = Region::Create("dwcp-probe", kProbePages * kPageBytes, false);
  for (uint64_t page = 0; page < kProbePages; page++) *region->page(page) = 2;
  return region;
}

uint64_t AddressOf(const Region& region) { return reinterpret_cast<uint64_t>(region.data()); }

void Try(DirtyTracker* tracker, Region* region) {
  PageSet first(kProbePages);
  tracker->Scan(&first);
  PageSet expected(kProbePages);
  for (uint64_t page = 0; page < kProbePages; page += kProbeStride) {
    *region->page(page) = 1;
    expected.Add(page);
  }
  PageSet found(kProbePages);
  if (tracker->Scan(&found) == 0) {
    throw std::system_error(ENOTSUP, std::generic_category(),
                            std::string(tracker->backend()) + " finds no write");
  }
  for (uint64_t page = 0; page < kProbePages; page++) {
    if (found.Has(page) == expected.Has(page)) continue;
    throw std::system_error(
        EIO, std::generic_category(),
        std::string(tracker->backend()) + " misreports page " + std::to_string(page));
  }
}

}  // namespace

void ProbePagemapScan() {
  const auto region = ProbeRegion();
  const Descriptor registration{TrackWrites(region->data(), region->size_bytes())};
  Try(MakePagemapTracker(getpid(), AddressOf(*region), region).get(), region.get());
}

void ProbeSoftDirty() {
  const auto region = ProbeRegion();
  Try(MakeUntriedSoftDirtyTracker(getpid(), AddressOf(*region), region).get(), region.get());
}

}  // namespace dwcp
