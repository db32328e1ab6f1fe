#include "binding/fingerprint_sample.h"

#include <time.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "cache/peer_contents.h"
#include "codec/page_encoder.h"
#include "memory/page_kernels.h"
#include "memory/region.h"

namespace dwcp {
namespace {

// One pass over a small sample is too short to be told from noise.
constexpr size_t kBytesWanted = 256u << 20;

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

// What the encoder of a sender does with each page before any codec: zero scan, copy, digest, and
// whatever the filter asks for.
class Encoding {
 public:
  explicit Encoding(ContentFilter* filter) : map_(kMapEntriesMax) { context_.filter = filter; }
  uint64_t Run(const uint8_t* pages, size_t count) {
    Begin();
    uint64_t page = 0;
    return Timed(pages, count, [&](const uint8_t* bytes) {
      if (encoder_.full()) Begin();
      encoder_.Add(page++, bytes);
    });
  }

 private:
  static constexpr uint32_t kChunkBytes = 256 * 1024;
  void Begin() { encoder_.Begin(map_.data(), kChunkBytes, context_); }
  std::vector<MapEntry> map_;
  EncodeContext context_;
  PageEncoder encoder_;
};

}  // namespace

// fingerprintSample(pages, peerPages): one pass of an encoder that knows of no peer, one that makes
// keyed fingerprints, one of an encoder whose peer told of `peerPages` other pages: what is not
// zero is looked up by its fingerprint, and hashed strongly where it is found.
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
  Encoding without(nullptr);
  Encoding with(&peer);
  uint64_t raw_ns = 0, hash_ns = 0, both_ns = 0, sum = 0;
  const size_t rounds = std::max<size_t>(1, kBytesWanted / std::max<size_t>(1, bytes.ByteLength()));
  // In turns: what else the machine does meanwhile falls on all of them.
  for (size_t round = 0; round < rounds; round++) {
    raw_ns += without.Run(bytes.Data(), count);
    hash_ns += Timed(bytes.Data(), count,
                     [&](const uint8_t* page) { sum += key->Fingerprint(DigestPage(page)); });
    both_ns += with.Run(bytes.Data(), count);
  }
  const uint64_t strong_ns =
      Timed(bytes.Data(), count, [&](const uint8_t* page) { sum += key->Hash(page)[0]; });
  Napi::Object out = Napi::Object::New(info.Env());
  const auto set = [&](const char* name, uint64_t value) {
    out.Set(name, Napi::Number::New(info.Env(), static_cast<double>(value)));
  };
  set("rawNs", raw_ns / rounds);
  set("fingerprintNs", hash_ns / rounds);
  set("bothNs", both_ns / rounds);
  set("strongNs", strong_ns);
  // Somebody has to look at what was computed, or nothing is.
  set("checksum", sum % 1024);
  return out;
}

}  // namespace dwcp
