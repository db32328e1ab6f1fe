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

}  // namespace

void ProbeWriteTracking() {
  const auto region = Region::Create("dwcp-probe", kProbePages * kPageBytes, false);
  const Descriptor registration{TrackWrites(region->data(), region->size_bytes())};
  const auto tracker =
      MakePagemapTracker(getpid(), reinterpret_cast<uint64_t>(region->data()), region);
  PageSet first(kProbePages);
  tracker->Scan(&first);
  PageSet expected(kProbePages);
  for (uint64_t page = 0; page < kProbePages; page += kProbeStride) {
    *region->page(page) = 1;
    expected.Add(page);
  }
  PageSet found(kProbePages);
  tracker->Scan(&found);
  for (uint64_t page = 0; page < kProbePages; page++) {
    if (found.Has(page) != expected.Has(page)) {
      throw std::system_error(EIO, std::generic_category(),
                              "PAGEMAP_SCAN misreports page " + std::to_string(page));
    }
  }
}

}  // namespace dwcp
