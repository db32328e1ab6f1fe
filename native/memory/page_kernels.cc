#include "memory/page_kernels.h"

#include <cstring>

#include "memory/crc32c_tables.h"
#include "memory/region.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dwcp {

namespace {

constexpr size_t kHalfBytes = kPageBytes / 2;
constexpr size_t kWordsPerQuarter = kPageBytes / 4 / sizeof(uint64_t);

const Crc32cTables kTables;
const Crc32cShift kShiftHalf(11);     // 2048 bytes
const Crc32cShift kShiftQuarter(10);  // 1024 bytes

uint64_t LoadWord(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

}  // namespace

namespace scalar {

bool IsZeroPage(const void* page) {
  const auto* bytes = static_cast<const uint8_t*>(page);
  for (size_t at = 0; at < kPageBytes; at += 64) {
    uint64_t any = 0;
    for (size_t i = 0; i < 64; i += 8) any |= LoadWord(bytes + at + i);
    if (any != 0) return false;
  }
  return true;
}

uint32_t Crc32c(uint32_t crc, const void* data, size_t bytes) {
  const auto* at = static_cast<const uint8_t*>(data);
  const auto& slice = kTables.slice;
  crc = ~crc;
  for (; bytes >= 8; bytes -= 8, at += 8) {
    const uint64_t word = LoadWord(at) ^ crc;
    crc = slice[7][word & 255] ^ slice[6][(word >> 8) & 255] ^ slice[5][(word >> 16) & 255] ^
          slice[4][(word >> 24) & 255] ^ slice[3][(word >> 32) & 255] ^
          slice[2][(word >> 40) & 255] ^ slice[1][(word >> 48) & 255] ^ slice[0][word >> 56];
  }
  for (; bytes > 0; bytes--, at++) crc = (crc >> 8) ^ slice[0][(crc ^ *at) & 255];
  return ~crc;
}

PageDigest DigestPage(const void* page) {
  const auto* bytes = static_cast<const uint8_t*>(page);
  const uint64_t low = scalar::Crc32c(0, bytes, kHalfBytes);
  return low | (uint64_t{scalar::Crc32c(0, bytes + kHalfBytes, kHalfBytes)} << 32);
}

PageDigest CopyPageWithDigest(void* target, const void* source) {
  // The copy is what gets hashed: `source` may change between two reads of it.
  std::memcpy(target, source, kPageBytes);
  return scalar::DigestPage(target);
}

void CopyPage(void* target, const void* source) { std::memcpy(target, source, kPageBytes); }

}  // namespace scalar

namespace {

#if defined(__x86_64__)

__attribute__((target("avx2"))) bool IsZeroPageAvx2(const void* page) {
  const auto* at = static_cast<const __m256i*>(page);
  for (size_t i = 0; i < kPageBytes / 32; i += 8) {
    const __m256i a = _mm256_or_si256(_mm256_loadu_si256(at + i), _mm256_loadu_si256(at + i + 1));
    const __m256i b =
        _mm256_or_si256(_mm256_loadu_si256(at + i + 2), _mm256_loadu_si256(at + i + 3));
    const __m256i c =
        _mm256_or_si256(_mm256_loadu_si256(at + i + 4), _mm256_loadu_si256(at + i + 5));
    const __m256i d =
        _mm256_or_si256(_mm256_loadu_si256(at + i + 6), _mm256_loadu_si256(at + i + 7));
    const __m256i any = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
    if (_mm256_testz_si256(any, any) == 0) return false;
  }
  return true;
}

__attribute__((target("avx2"))) void CopyPageAvx2(void* target, const void* source) {
  auto* to = static_cast<__m256i*>(target);
  const auto* from = static_cast<const __m256i*>(source);
  for (size_t i = 0; i < kPageBytes / 32; i += 4) {
    const __m256i a = _mm256_loadu_si256(from + i);
    const __m256i b = _mm256_loadu_si256(from + i + 1);
    const __m256i c = _mm256_loadu_si256(from + i + 2);
    const __m256i d = _mm256_loadu_si256(from + i + 3);
    _mm256_stream_si256(to + i, a);
    _mm256_stream_si256(to + i + 1, b);
    _mm256_stream_si256(to + i + 2, c);
    _mm256_stream_si256(to + i + 3, d);
  }
  _mm_sfence();
}

// Records of a chunk lie anywhere: a page there starts where it starts.
typedef uint64_t Word __attribute__((aligned(1), may_alias));

// The crc32 instruction takes 3 cycles but starts every cycle: four chains, one per quarter page.
//   quarter   q0      q1   |   q2      q3
//   half        low        |     high
template <bool kCopy>
__attribute__((target("sse4.2"))) PageDigest DigestSse42(Word* target, const void* source) {
  // volatile: a word that a guest changes meanwhile is loaded once, so the copy is what was hashed.
  const auto* words = static_cast<const volatile Word*>(source);
  uint64_t q0 = 0xFFFFFFFFu, q1 = 0, q2 = 0xFFFFFFFFu, q3 = 0;
  for (size_t i = 0; i < kWordsPerQuarter; i++) {
    const uint64_t w0 = words[i], w1 = words[i + kWordsPerQuarter],
                   w2 = words[i + 2 * kWordsPerQuarter], w3 = words[i + 3 * kWordsPerQuarter];
    q0 = _mm_crc32_u64(q0, w0);
    q1 = _mm_crc32_u64(q1, w1);
    q2 = _mm_crc32_u64(q2, w2);
    q3 = _mm_crc32_u64(q3, w3);
    if (kCopy) {
      target[i] = w0;
      target[i + kWordsPerQuarter] = w1;
      target[i + 2 * kWordsPerQuarter] = w2;
      target[i + 3 * kWordsPerQuarter] = w3;
    }
  }
  const uint32_t low = ~(kShiftQuarter(static_cast<uint32_t>(q0)) ^ static_cast<uint32_t>(q1));
  const uint32_t high = ~(kShiftQuarter(static_cast<uint32_t>(q2)) ^ static_cast<uint32_t>(q3));
  return uint64_t{low} | (uint64_t{high} << 32);
}

PageDigest DigestPageSse42(const void* page) { return DigestSse42<false>(nullptr, page); }

PageDigest CopyPageWithDigestSse42(void* target, const void* source) {
  return DigestSse42<true>(static_cast<Word*>(target), source);
}

__attribute__((target("sse4.2"))) uint32_t Crc32cSse42(uint32_t crc, const void* data,
                                                       size_t bytes) {
  const auto* at = static_cast<const uint8_t*>(data);
  // Whole pages go through the four chains, wherever they start.
  for (; bytes >= kPageBytes; bytes -= kPageBytes, at += kPageBytes) {
    crc = Crc32cAppendPage(crc, DigestPageSse42(at));
  }
  uint64_t state = static_cast<uint32_t>(~crc);
  for (; bytes >= 8; bytes -= 8, at += 8) state = _mm_crc32_u64(state, LoadWord(at));
  auto last = static_cast<uint32_t>(state);
  for (; bytes > 0; bytes--, at++) last = _mm_crc32_u8(last, *at);
  return ~last;
}

#endif

struct Kernels {
  bool (*is_zero_page)(const void*) = scalar::IsZeroPage;
  PageDigest (*digest_page)(const void*) = scalar::DigestPage;
  PageDigest (*copy_page_with_digest)(void*, const void*) = scalar::CopyPageWithDigest;
  void (*copy_page)(void*, const void*) = scalar::CopyPage;
  uint32_t (*crc32c)(uint32_t, const void*, size_t) = scalar::Crc32c;
  const char* name = "scalar";

  Kernels() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("avx2")) return;
    is_zero_page = IsZeroPageAvx2;
    digest_page = DigestPageSse42;
    copy_page_with_digest = CopyPageWithDigestSse42;
    copy_page = CopyPageAvx2;
    crc32c = Crc32cSse42;
    name = "sse4.2+avx2";
#endif
  }
};

const Kernels kKernels;

}  // namespace

bool IsZeroPage(const void* page) { return kKernels.is_zero_page(page); }

PageDigest DigestPage(const void* page) { return kKernels.digest_page(page); }

PageDigest CopyPageWithDigest(void* target, const void* source) {
  return kKernels.copy_page_with_digest(target, source);
}

void PrefetchPage(const void* page) {
  const auto* bytes = static_cast<const uint8_t*>(page);
  for (size_t at = 0; at < kPageBytes; at += 64) __builtin_prefetch(bytes + at);
}

void CopyPage(void* target, const void* source) { kKernels.copy_page(target, source); }

uint32_t Crc32c(uint32_t crc, const void* data, size_t bytes) {
  return kKernels.crc32c(crc, data, bytes);
}

uint32_t Crc32cAppendPage(uint32_t crc, PageDigest digest) {
  crc = kShiftHalf(crc) ^ static_cast<uint32_t>(digest);
  return kShiftHalf(crc) ^ static_cast<uint32_t>(digest >> 32);
}

const char* KernelName() { return kKernels.name; }

}  // namespace dwcp
