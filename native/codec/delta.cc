#include "codec/delta.h"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dwcp {
namespace {

constexpr size_t kTokenBytes = 2;
constexpr size_t kRunWordsMax = 128;

// Low nine bits: words to skip; high seven: words that follow, less one.
uint16_t Token(size_t skipped, size_t words) {
  return static_cast<uint16_t>(skipped | (words - 1) << 9);
}

struct Run {
  size_t skipped, words;
};

Run ReadToken(const uint8_t* at) {
  uint16_t token;
  std::memcpy(&token, at, sizeof token);
  return {token & size_t{511}, (token >> 9) + size_t{1}};
}

uint64_t LoadWord(const void* page, size_t index) {
  uint64_t word;
  std::memcpy(&word, static_cast<const uint8_t*>(page) + index * 8, sizeof word);
  return word;
}

// The first word from `from` on that is (or, inverted, is not) in the set; kPageWords when none.
size_t Find(const WordSet& set, size_t from, uint64_t inverted) {
  while (from < kPageWords) {
    const uint64_t rest = (set.bits[from / 64] ^ inverted) >> from % 64;
    if (rest != 0) return from + static_cast<size_t>(__builtin_ctzll(rest));
    from = (from / 64 + 1) * 64;
  }
  return kPageWords;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) WordSet DifferentWordsAvx2(const void* a, const void* b) {
  const auto* left = static_cast<const __m256i*>(a);
  const auto* right = static_cast<const __m256i*>(b);
  WordSet set;
  for (size_t i = 0; i < kPageWords / 64; i++) {
    uint64_t equal = 0;
    for (size_t j = 0; j < 16; j++) {
      const __m256i same = _mm256_cmpeq_epi64(_mm256_loadu_si256(left + i * 16 + j),
                                              _mm256_loadu_si256(right + i * 16 + j));
      const int four = _mm256_movemask_pd(_mm256_castsi256_pd(same));
      equal |= static_cast<uint64_t>(four) << (j * 4);
    }
    set.bits[i] = ~equal;
  }
  return set;
}
#endif

using Kernel = WordSet (*)(const void*, const void*);
const Kernel kDifferentWords = [] {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) return Kernel{DifferentWordsAvx2};
#endif
  return Kernel{scalar::DifferentWords};
}();

}  // namespace

WordSet scalar::DifferentWords(const void* a, const void* b) {
  WordSet set{};
  for (size_t i = 0; i < kPageWords; i++) {
    if (LoadWord(a, i) != LoadWord(b, i)) set.bits[i / 64] |= uint64_t{1} << i % 64;
  }
  return set;
}

WordSet DifferentWords(const void* a, const void* b) { return kDifferentWords(a, b); }

int EncodeDelta(const void* base, const void* page, uint8_t* out) {
  const WordSet set = DifferentWords(base, page);
  size_t written = 0;
  size_t at = 0;
  for (size_t first = Find(set, 0, 0); first < kPageWords; first = Find(set, at, 0)) {
    size_t end = Find(set, first, ~uint64_t{0});
    if (end > first + kRunWordsMax) end = first + kRunWordsMax;
    if (written + kTokenBytes + (end - first) * 8 > kDeltaBytesMax) return -1;
    const uint16_t token = Token(first - at, end - first);
    std::memcpy(out + written, &token, sizeof token);
    written += kTokenBytes;
    for (; first < end; first++, written += 8) {
      const uint64_t word = LoadWord(base, first) ^ LoadWord(page, first);
      std::memcpy(out + written, &word, sizeof word);
    }
    at = end;
  }
  return static_cast<int>(written);
}

bool CheckDelta(const uint8_t* delta, size_t bytes) {
  if (bytes > kDeltaBytesMax) return false;
  size_t word = 0;
  for (size_t at = 0; at < bytes;) {
    if (bytes - at < kTokenBytes) return false;
    const Run run = ReadToken(delta + at);
    at += kTokenBytes;
    word += run.skipped + run.words;
    if (word > kPageWords || bytes - at < run.words * 8) return false;
    at += run.words * 8;
  }
  return true;
}

void ApplyDelta(void* page, const uint8_t* delta, size_t bytes) {
  auto* target = static_cast<uint8_t*>(page);
  for (size_t at = 0; at < bytes;) {
    const Run run = ReadToken(delta + at);
    at += kTokenBytes;
    target += run.skipped * 8;
    for (size_t i = 0; i < run.words; i++, target += 8, at += 8) {
      const uint64_t word = LoadWord(target, 0) ^ LoadWord(delta + at, 0);
      std::memcpy(target, &word, sizeof word);
    }
  }
}

}  // namespace dwcp
