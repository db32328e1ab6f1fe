// Whether this kernel tracks writes for this user, found by trying it.
#pragma once

namespace dwcp {

// Tracks a few pages, writes some, scans. Throws std::system_error naming the step that the kernel
// refuses, or with EIO where the scan does not find exactly what was written.
void ProbeWriteTracking();

}  // namespace dwcp
