// What travels in order beside the pages of a QEMU guest, from the source to whoever feeds the
// waiting QEMU: u8 type, be32 length, and so many bytes. A stream that begins with QEMU's own magic
// is QEMU's stream as it is, passed through whole.
#pragma once
#include <cstdint>

#include "qemu/stream_format.h"

namespace dwcp::qemu {

constexpr uint8_t kControlLayout = 1;  // be32 section, be32 count, then str8 name, be64 bytes each
constexpr uint8_t kControlBytes = 2;   // for the waiting QEMU, as they are
constexpr uint8_t kControlRound = 3;   // a round of pages ended
constexpr uint8_t kControlRamEnded = 4;  // every page has landed; what follows until the end of the
                                         // stream is for the waiting QEMU, as it is
constexpr uint8_t kPassThrough = kFileMagic >> 24;
constexpr size_t kControlHeaderBytes = 5;
// A layout, or the beginning of a stream.
constexpr uint32_t kControlBytesMax = 256 * 1024;

}  // namespace dwcp::qemu
