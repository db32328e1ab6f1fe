#include "codec/page_decoder.h"

namespace dwcp {

const uint8_t* PageDecoder::Decode(const FrameHeader& header, const MapEntry* map,
                                   const uint8_t* encoded) {
  const uint8_t* records = encoded;
  if (header.codec() != Codec::kNone) {
    if (capacity_ < header.raw_bytes) {
      payload_.reset(new uint8_t[header.raw_bytes]);
      capacity_ = header.raw_bytes;
    }
    const bool whole = decompressor_.Decompress(header.codec(), encoded, header.encoded_bytes,
                                                payload_.get(), header.raw_bytes);
    if (!whole) return nullptr;
    records = payload_.get();
  }
  return CheckRecords(map, header.map_entries, records, header.raw_bytes) ? records : nullptr;
}

}  // namespace dwcp
