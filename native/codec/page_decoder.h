// The other way: from the body of a hostile chunk to checked records. One per thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "codec/payload_codec.h"
#include "codec/records.h"
#include "engine/frame.h"

namespace dwcp {

class PageDecoder {
 public:
  // The records of this chunk, undone and checked to the last byte, or null when they are not what
  // header and map say. The map was checked. They stay until the next call.
  const uint8_t* Decode(const FrameHeader& header, const MapEntry* map, const uint8_t* encoded);
  // One page to build things in.
  uint8_t* page() { return page_; }
  // Pages of this chunk that lack their base or content.
  std::vector<uint32_t>& missing() { return missing_; }

 private:
  alignas(64) uint8_t page_[4096];
  size_t capacity_ = 0;
  std::unique_ptr<uint8_t[]> payload_;
  std::vector<uint32_t> missing_;
  Decompressor decompressor_;
};

}  // namespace dwcp
