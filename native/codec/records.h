// The payload of a page chunk before the codec: one record per page, in the order of the map.
#pragma once
#include <cstddef>
#include <cstdint>

#include "codec/content.h"
#include "codec/delta.h"
#include "engine/frame.h"

namespace dwcp {

struct DeltaRecord {
  PageDigest base;
  PageDigest result;
  const uint8_t* runs;
  uint16_t bytes;
};
void WriteDeltaHeader(uint8_t* out, PageDigest base, PageDigest result, uint16_t bytes);
// Of a payload that was checked.
DeltaRecord ReadDelta(const uint8_t* record);

struct CopyRecord {
  uint32_t page;  // of a hostile peer: any
  PageDigest digest;
};
void WriteCopy(uint8_t* out, const CopyRecord& copy);
CopyRecord ReadCopy(const uint8_t* record);

// Every record whole, every delta inside its page, nothing left over. The map was checked.
bool CheckRecords(const MapEntry* map, uint32_t entries, const uint8_t* payload, size_t bytes);

}  // namespace dwcp
