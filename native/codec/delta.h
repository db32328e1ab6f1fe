// What changed in a page, as runs of words: a token (skipped words, words that follow) and the
// exclusive or of the old and the new words. Applying is the same exclusive or.
#pragma once
#include <cstddef>
#include <cstdint>

#include "engine/frame.h"

namespace dwcp {

constexpr size_t kPageWords = 512;

// Bit i of the result: word i of the two pages differs.
struct WordSet {
  uint64_t bits[kPageWords / 64];
};
WordSet DifferentWords(const void* a, const void* b);
namespace scalar {
WordSet DifferentWords(const void* a, const void* b);
}

// Bytes written to `out`, at most kDeltaBytesMax, or -1 when the pages differ too much.
int EncodeDelta(const void* base, const void* page, uint8_t* out);
// Are these runs that stay inside a page?
bool CheckDelta(const uint8_t* delta, size_t bytes);
// Changes `page` from base to result. `delta` was checked.
void ApplyDelta(void* page, const uint8_t* delta, size_t bytes);

}  // namespace dwcp
