// Is it worth trying to compress this? Looks at a sample only.
#pragma once
#include <cstddef>
#include <cstdint>

namespace dwcp {

// True for bytes that are as good as random: encrypted, or compressed already.
bool LooksRandom(const uint8_t* bytes, size_t count);

}  // namespace dwcp
