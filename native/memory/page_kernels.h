// The loops that touch every guest byte: zero test, CRC32C, page digest, copy with digest.
// Each has a SIMD or hardware form chosen once at run time and a scalar twin that tests hold it
// against.
#pragma once
#include <cstddef>
#include <cstdint>

namespace dwcp {

// CRC32C (Castagnoli) of each 2 KiB half of a page: low word first half, high word second half.
using PageDigest = uint64_t;
constexpr PageDigest kNeverLanded = ~PageDigest{0};

bool IsZeroPage(const void* page);
PageDigest DigestPage(const void* page);
// One pass: reads `source` once, writes `target`, returns the digest of what was written.
PageDigest CopyPageWithDigest(void* target, const void* source);
// Asks for a page that is read next. Four chains per page never let the processor's own prefetch
// get going: without this, reading cold memory takes three times as long.
void PrefetchPage(const void* page);
// Copy of one page for landing, `target` page-aligned. Goes past the caches, which would first
// fetch what it overwrites; is visible to every other thread when it returns.
void CopyPage(void* target, const void* source);

// Standard CRC32C; start with 0, chain by passing the previous result.
uint32_t Crc32c(uint32_t crc, const void* data, size_t bytes);
// The CRC of "what came before" followed by the page with this digest, without touching the page
// again.
uint32_t Crc32cAppendPage(uint32_t crc, PageDigest digest);

namespace scalar {
bool IsZeroPage(const void* page);
PageDigest DigestPage(const void* page);
PageDigest CopyPageWithDigest(void* target, const void* source);
void CopyPage(void* target, const void* source);
uint32_t Crc32c(uint32_t crc, const void* data, size_t bytes);
}  // namespace scalar

const char* KernelName();  // "sse4.2+avx2" or "scalar"

}  // namespace dwcp
