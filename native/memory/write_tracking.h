// Asks the kernel to note every write to a mapping of this process (userfaultfd WP_ASYNC,
// Linux 6.7).
#pragma once
#include <cstdint>

namespace dwcp {

// No fault handler is needed: the kernel notes a write and lets it through. The returned descriptor
// carries the registration; closing it ends the tracking. Throws std::system_error naming the step
// that this kernel or user may not do.
int TrackWrites(uint8_t* memory, uint64_t size_bytes);

}  // namespace dwcp
