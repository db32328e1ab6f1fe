#include "binding/memory_binding.h"

#include <cstring>
#include <string>

#include "binding/native_error.h"
#include "binding/page_set_wrap.h"
#include "binding/region_wrap.h"
#include "binding/tracker_wrap.h"
#include "memory/page_hash.h"
#include "memory/page_kernels.h"
#include "memory/tracking_probe.h"

namespace dwcp {

namespace {

Napi::Value CreateRegion(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  const double size_bytes = info[1].As<Napi::Number>().DoubleValue();
  const bool huge_pages = info[2].As<Napi::Boolean>();
  return WithNativeErrors(info.Env(), [&] {
    return RegionWrap::New(info.Env(),
                           Region::Create(name, static_cast<uint64_t>(size_bytes), huge_pages));
  });
}

Napi::Value MapRegion(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>();
  const double size_bytes = info[1].As<Napi::Number>().DoubleValue();
  const double offset_bytes = info[2].As<Napi::Number>().DoubleValue();
  return WithNativeErrors(info.Env(), [&] {
    return RegionWrap::New(info.Env(), Region::Map(fd, static_cast<uint64_t>(size_bytes),
                                                   static_cast<uint64_t>(offset_bytes)));
  });
}

// `first_page`, `page_count` as arguments 1 and 2, checked against the region.
struct PageRange {
  PageRange(const Napi::CallbackInfo& info, const Region& region)
      : first(info[1].As<Napi::Number>().DoubleValue()),
        count(info[2].As<Napi::Number>().DoubleValue()) {
    if (!(first >= 0 && count >= 0 && first + count <= static_cast<double>(region.page_count()))) {
      throw Napi::RangeError::New(info.Env(), "pages outside of the region");
    }
  }
  double first;
  double count;
};

Napi::Value DigestPages(const Napi::CallbackInfo& info) {
  const auto region = RegionWrap::From(info[0]).region();
  const PageRange range(info, *region);
  const auto first = static_cast<uint64_t>(range.first);
  const auto count = static_cast<size_t>(range.count);
  Napi::Uint8Array digests = Napi::Uint8Array::New(info.Env(), count * sizeof(PageDigest));
  for (size_t i = 0; i < count; i++) {
    const PageDigest digest = DigestPage(region->page(first + i));
    std::memcpy(digests.Data() + i * sizeof digest, &digest, sizeof digest);
  }
  return digests;
}

PageHasher HasherOf(const Napi::Value& value) {
  const auto key = value.As<Napi::Uint8Array>();
  if (key.ByteLength() != kPageHashKeyBytes) {
    throw Napi::RangeError::New(value.Env(), "a key of 16 bytes");
  }
  return PageHasher(key.Data());
}

// hashPages(region, firstPage, pageCount, key)
Napi::Value HashPages(const Napi::CallbackInfo& info) {
  return WithNativeErrors(info.Env(), [&]() -> Napi::Value {
    const auto region = RegionWrap::From(info[0]).region();
    const PageRange range(info, *region);
    PageHasher hasher = HasherOf(info[3]);
    const auto first = static_cast<uint64_t>(range.first);
    const auto count = static_cast<size_t>(range.count);
    Napi::Uint8Array hashes = Napi::Uint8Array::New(info.Env(), count * kPageHashBytes);
    for (size_t i = 0; i < count; i++) {
      hasher.Hash(region->page(first + i), hashes.Data() + i * kPageHashBytes);
    }
    return hashes;
  });
}

// removeEqualPages(region, firstPage, hashes, key, set): takes those pages out of the set that have
// these hashes, and says how many.
Napi::Value RemoveEqualPages(const Napi::CallbackInfo& info) {
  return WithNativeErrors(info.Env(), [&]() -> Napi::Value {
    const auto region = RegionWrap::From(info[0]).region();
    const double first_page = info[1].As<Napi::Number>().DoubleValue();
    const auto hashes = info[2].As<Napi::Uint8Array>();
    PageSet& set = PageSetWrap::From(info[4]).set();
    const size_t count = hashes.ByteLength() / kPageHashBytes;
    if (!(first_page >= 0 && first_page + count <= static_cast<double>(region->page_count())) ||
        hashes.ByteLength() % kPageHashBytes != 0 || set.page_count() != region->page_count()) {
      throw Napi::RangeError::New(info.Env(), "hashes of pages outside of the region");
    }
    PageHasher hasher = HasherOf(info[3]);
    const auto first = static_cast<uint64_t>(first_page);
    uint32_t equal = 0;
    for (uint64_t page = set.Next(first); page < first + count; page = set.Next(page + 1)) {
      uint8_t own[kPageHashBytes];
      hasher.Hash(region->page(page), own);
      if (std::memcmp(own, hashes.Data() + (page - first) * kPageHashBytes, kPageHashBytes) != 0) {
        continue;
      }
      set.Remove(page);
      equal++;
    }
    return Napi::Number::New(info.Env(), equal);
  });
}

uint64_t SplitMix(uint64_t& state) {
  uint64_t value = (state += 0x9E3779B97F4A7C15u);
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

// Every page differs from every other; each `zero_every`-th is left zero (0: none).
void FillRegion(const Napi::CallbackInfo& info) {
  const auto region = RegionWrap::From(info[0]).region();
  const auto seed = static_cast<uint64_t>(info[1].As<Napi::Number>().Int64Value());
  const auto zero_every = static_cast<uint64_t>(info[2].As<Napi::Number>().Int64Value());
  for (uint64_t page = 0; page < region->page_count(); page++) {
    auto* words = reinterpret_cast<uint64_t*>(region->page(page));
    const bool zero = zero_every != 0 && page % zero_every == 0;
    uint64_t state = seed * 0x2545F4914F6CDD1Du + page * 0xD1342543DE82EF95u;
    for (size_t i = 0; i < kPageBytes / 8; i++) words[i] = zero ? 0 : SplitMix(state);
  }
}

// probeWriteTracking(backend): 'pagemap-scan' or 'soft-dirty'.
void TryWriteTracking(const Napi::CallbackInfo& info) {
  const std::string backend = info[0].As<Napi::String>();
  WithNativeErrors(info.Env(), [&]() -> Napi::Value {
    backend == "soft-dirty" ? ProbeSoftDirty() : ProbePagemapScan();
    return info.Env().Undefined();
  });
}

bool WantsScalar(const Napi::Value& value) { return value.As<Napi::Boolean>(); }

Napi::Uint8Array PageArgument(const Napi::CallbackInfo& info, size_t index) {
  const auto bytes = info[index].As<Napi::Uint8Array>();
  if (bytes.ByteLength() != kPageBytes) {
    throw Napi::RangeError::New(info.Env(), "a page is 4096 bytes");
  }
  return bytes;
}

Napi::Value KernelCrc32c(const Napi::CallbackInfo& info) {
  const uint32_t crc = info[0].As<Napi::Number>().Uint32Value();
  const auto bytes = info[1].As<Napi::Uint8Array>();
  const auto run = WantsScalar(info[2]) ? scalar::Crc32c : Crc32c;
  return Napi::Number::New(info.Env(), run(crc, bytes.Data(), bytes.ByteLength()));
}

Napi::Value KernelDigestPage(const Napi::CallbackInfo& info) {
  const auto run = WantsScalar(info[1]) ? scalar::DigestPage : DigestPage;
  return Napi::BigInt::New(info.Env(), run(PageArgument(info, 0).Data()));
}

Napi::Value KernelCopyPage(const Napi::CallbackInfo& info) {
  const auto run = WantsScalar(info[2]) ? scalar::CopyPageWithDigest : CopyPageWithDigest;
  return Napi::BigInt::New(info.Env(),
                           run(PageArgument(info, 0).Data(), PageArgument(info, 1).Data()));
}

Napi::Value KernelIsZeroPage(const Napi::CallbackInfo& info) {
  const auto run = WantsScalar(info[1]) ? scalar::IsZeroPage : IsZeroPage;
  return Napi::Boolean::New(info.Env(), run(PageArgument(info, 0).Data()));
}

Napi::Value KernelAppendPage(const Napi::CallbackInfo& info) {
  bool lossless = false;
  const uint64_t digest = info[1].As<Napi::BigInt>().Uint64Value(&lossless);
  return Napi::Number::New(info.Env(),
                           Crc32cAppendPage(info[0].As<Napi::Number>().Uint32Value(), digest));
}

}  // namespace

void RegisterMemory(Napi::Env env, Napi::Object exports) {
  RegionWrap::Register(env, exports);
  PageSetWrap::Register(env, exports);
  TrackerWrap::Register(env, exports);
  exports.Set("createRegion", Napi::Function::New<CreateRegion>(env));
  exports.Set("mapRegion", Napi::Function::New<MapRegion>(env));
  exports.Set("hashPages", Napi::Function::New<HashPages>(env));
  exports.Set("removeEqualPages", Napi::Function::New<RemoveEqualPages>(env));
  exports.Set("digestPages", Napi::Function::New<DigestPages>(env));
  exports.Set("probeWriteTracking", Napi::Function::New<TryWriteTracking>(env));
  exports.Set("fillRegion", Napi::Function::New<FillRegion>(env));

  Napi::Object kernels = Napi::Object::New(env);
  kernels.Set("name", Napi::String::New(env, KernelName()));
  kernels.Set("crc32c", Napi::Function::New<KernelCrc32c>(env));
  kernels.Set("digestPage", Napi::Function::New<KernelDigestPage>(env));
  kernels.Set("copyPage", Napi::Function::New<KernelCopyPage>(env));
  kernels.Set("isZeroPage", Napi::Function::New<KernelIsZeroPage>(env));
  kernels.Set("appendPage", Napi::Function::New<KernelAppendPage>(env));
  exports.Set("kernels", kernels);
}

}  // namespace dwcp
