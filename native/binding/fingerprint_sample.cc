#include "binding/fingerprint_sample.h"

#include <time.h>

#include <memory>
#include <vector>

#include "cache/peer_contents.h"
#include "memory/page_kernels.h"
#include "memory/region.h"

namespace dwcp {
namespace {

// Processor time of this thread: what else runs on the machine is no figure of a kernel.
uint64_t ThreadNs() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
}

template <typename Each>
uint64_t Timed(const uint8_t* pages, size_t count, Each each) {
  const uint64_t start_ns = ThreadNs();
  for (size_t i = 0; i < count; i++) {
    if (i + 1 < count) PrefetchPage(pages + (i + 1) * kPageBytes);
    each(pages + i * kPageBytes);
  }
  return ThreadNs() - start_ns;
}

}  // namespace

// fingerprintSample(pages, peerPages): one pass that looks for zeros, one that makes keyed
// fingerprints, one as a sender does it whose peer told of `peerPages` other pages: a fingerprint
// of what is not zero, looked up, and the strong hash only where it is found.
Napi::Value FingerprintSample(const Napi::CallbackInfo& info) {
  const auto bytes = info[0].As<Napi::Uint8Array>();
  const size_t told = info[1].As<Napi::Number>().Uint32Value();
  const size_t count = bytes.ByteLength() / kPageBytes;
  static constexpr uint8_t secret[kContentSecretBytesMin] = {1};
  const auto key = std::make_shared<const ContentKey>(secret, sizeof secret);
  std::vector<uint32_t> fingerprints(told);
  for (size_t i = 0; i < told; i++) {
    fingerprints[i] = ShortFingerprint(key->Fingerprint(~PageDigest{i}));
  }
  PeerContents peer(key, std::move(fingerprints));
  uint64_t zero_pages = 0, candidates = 0, sum = 0;
  const uint64_t scan_ns = Timed(bytes.Data(), count, [&](const uint8_t* page) {
    if (IsZeroPage(page)) zero_pages++;
  });
  const uint64_t hash_ns = Timed(
      bytes.Data(), count, [&](const uint8_t* page) { sum += key->Fingerprint(DigestPage(page)); });
  const uint64_t both_ns = Timed(bytes.Data(), count, [&](const uint8_t* page) {
    ContentHash hash;
    if (!IsZeroPage(page) && peer.Holds(page, DigestPage(page), &hash)) candidates++;
  });
  const uint64_t strong_ns =
      Timed(bytes.Data(), count, [&](const uint8_t* page) { sum += key->Hash(page)[0]; });
  Napi::Object out = Napi::Object::New(info.Env());
  const auto set = [&](const char* name, uint64_t value) {
    out.Set(name, Napi::Number::New(info.Env(), static_cast<double>(value)));
  };
  set("zeroPages", zero_pages);
  set("candidates", candidates);
  set("scanNs", scan_ns);
  set("fingerprintNs", hash_ns);
  set("bothNs", both_ns);
  set("strongNs", strong_ns);
  // Somebody has to look at what was computed, or nothing is.
  set("checksum", sum % 1024);
  return out;
}

}  // namespace dwcp
