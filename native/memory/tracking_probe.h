// Whether this kernel tracks writes for this user, found by trying it.
#pragma once

namespace dwcp {

// Each tracks a few pages, writes some, scans. Throws std::system_error naming the step that the
// kernel refuses, with ENOTSUP where the scan finds nothing at all, or with EIO where it does not
// find exactly what was written.
void ProbePagemapScan();
void ProbeSoftDirty();

}  // namespace dwcp
