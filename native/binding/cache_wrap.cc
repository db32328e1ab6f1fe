#include "binding/cache_wrap.h"

#include "binding/fingerprint_sample.h"
#include "binding/native_error.h"
#include "binding/region_wrap.h"
#include "engine/frame.h"

namespace dwcp {
namespace {

constexpr napi_type_tag kTag = {0x6477637063616368, 0x636f6e74656e7473};

void Set(Napi::Object object, const char* name, uint64_t value) {
  object.Set(name, Napi::Number::New(object.Env(), static_cast<double>(value)));
}

}  // namespace

Napi::Function ContentCacheWrap::Define(Napi::Env env) {
  return DefineClass(env, "ContentCache",
                     {InstanceMethod<&ContentCacheWrap::Keep>("keep"),
                      InstanceMethod<&ContentCacheWrap::Counters>("counters"),
                      InstanceMethod<&ContentCacheWrap::Close>("close")});
}

ContentCacheWrap& ContentCacheWrap::From(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    throw Napi::TypeError::New(value.Env(), "not a native content cache");
  }
  return *Unwrap(value.As<Napi::Object>());
}

ContentCacheWrap::ContentCacheWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const std::string directory = info[0].As<Napi::String>();
  const auto bytes_max = static_cast<uint64_t>(info[1].As<Napi::Number>().Int64Value());
  const auto secret = info[2].As<Napi::Uint8Array>();
  WithNativeErrors(info.Env(), [&] {
    auto key = std::make_shared<const ContentKey>(secret.Data(), secret.ByteLength());
    store_ = ContentStore::Open(directory, bytes_max, std::move(key));
    filler_ = std::make_unique<ContentFiller>(store_);
  });
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

std::shared_ptr<ContentStore> ContentCacheWrap::store() const {
  if (store_ == nullptr) throw Napi::Error::New(Env(), "the content cache was closed");
  return store_;
}

Napi::Value ContentCacheWrap::Keep(const Napi::CallbackInfo& info) {
  std::shared_ptr<Region> region;
  try {
    region = RegionWrap::From(info[0]).region();
  } catch (const Napi::Error&) {
    // It was closed: there is nothing left to keep.
    return Napi::Boolean::New(info.Env(), false);
  }
  const bool kept = filler_ != nullptr && filler_->Keep(std::move(region));
  return Napi::Boolean::New(info.Env(), kept);
}

Napi::Value ContentCacheWrap::Counters(const Napi::CallbackInfo& info) {
  if (store_ == nullptr) return info.Env().Null();
  const StoreCounters counters = store_->counters();
  Napi::Object out = Napi::Object::New(info.Env());
  Set(out, "pages", counters.pages);
  Set(out, "bytes", counters.bytes);
  Set(out, "bytesMax", counters.bytes_max);
  Set(out, "segments", counters.segments);
  Set(out, "hits", counters.hits);
  Set(out, "misses", counters.misses);
  Set(out, "savedBytes", counters.hits * (kPageBytes - kKnownBytes));
  Set(out, "corruptPages", counters.corrupt_pages);
  Set(out, "storedPages", counters.stored_pages);
  Set(out, "evictedPages", counters.evicted_pages);
  Set(out, "damagedSegments", counters.damaged_segments);
  Set(out, "writeErrors", counters.write_errors);
  out.Set("isFilling", filler_->busy());
  return out;
}

void ContentCacheWrap::Close(const Napi::CallbackInfo&) {
  filler_.reset();
  store_.reset();
}

void RegisterCache(Napi::Env env, Napi::Object exports) {
  exports.Set("ContentCache", ContentCacheWrap::Define(env));
  exports.Set("fingerprintSample", Napi::Function::New<FingerprintSample>(env));
}

}  // namespace dwcp
