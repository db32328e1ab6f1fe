#include "codec/entropy.h"

#include <algorithm>
#include <cmath>

namespace dwcp {
namespace {

constexpr size_t kBlockBytes = 4096;
// Of every block, at a place that differs from block to block: headers lie at the same place.
constexpr size_t kSampleBytes = 64;
constexpr size_t kSamplesMin = 1024;
// Bits per byte below what as many random bytes show.
constexpr double kSlackBits = 0.1;

}  // namespace

bool LooksRandom(const uint8_t* bytes, size_t count) {
  uint32_t histogram[256] = {};
  const size_t blocks = count / kBlockBytes;
  // Small payloads are looked at more closely, so that the sample is large enough to tell.
  const size_t sample =
      std::min(kBlockBytes / 2, std::max(kSampleBytes, kSamplesMin / std::max<size_t>(1, blocks)));
  for (size_t block = 0; block < blocks; block++) {
    const uint8_t* from = bytes + block * kBlockBytes + (block * 1117) % (kBlockBytes - sample);
    for (size_t i = 0; i < sample; i++) histogram[from[i]]++;
  }
  const auto samples = static_cast<double>(blocks * sample);
  if (samples < kSamplesMin) return false;
  double bits = std::log2(samples);
  for (const uint32_t seen : histogram) {
    if (seen > 0) bits -= seen * std::log2(static_cast<double>(seen)) / samples;
  }
  // A sample of random bytes falls short of eight bits by what its size explains.
  const double random_bits = 8 - 255 / (2 * samples * std::log(2.0));
  return bits > random_bits - kSlackBits;
}

}  // namespace dwcp
