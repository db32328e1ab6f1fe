#include "binding/region_wrap.h"

#include <utility>

namespace dwcp {

namespace {

constexpr napi_type_tag kTag = {0x6477637072656769, 0x6f6e000000000001};
thread_local Napi::FunctionReference constructor;

}  // namespace

void RegionWrap::Register(Napi::Env env, Napi::Object exports) {
  Napi::Function type =
      DefineClass(env, "Region",
                  {InstanceAccessor<&RegionWrap::SizeBytes>("sizeBytes", napi_enumerable),
                   InstanceAccessor<&RegionWrap::PageBytes>("pageBytes", napi_enumerable),
                   InstanceAccessor<&RegionWrap::Fd>("fd", napi_enumerable),
                   InstanceMethod<&RegionWrap::Close>("close")});
  constructor = Napi::Persistent(type);
  constructor.SuppressDestruct();
  exports.Set("Region", type);
}

Napi::Object RegionWrap::New(Napi::Env env, std::shared_ptr<Region> region) {
  return constructor.New({Napi::External<std::shared_ptr<Region>>::New(env, &region)});
}

RegionWrap::RegionWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<RegionWrap>(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "make regions with createRegion or mapRegion");
  }
  region_ = std::move(*info[0].As<Napi::External<std::shared_ptr<Region>>>().Data());
  size_bytes_ = region_->size_bytes();
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

RegionWrap& RegionWrap::From(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    throw Napi::TypeError::New(value.Env(), "not a native region");
  }
  return *Unwrap(value.As<Napi::Object>());
}

std::shared_ptr<Region> RegionWrap::region() const {
  if (!region_) throw Napi::Error::New(Env(), "the region was closed");
  return region_;
}

Napi::Value RegionWrap::SizeBytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(size_bytes_));
}

Napi::Value RegionWrap::PageBytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), kPageBytes);
}

Napi::Value RegionWrap::Fd(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), region()->fd());
}

void RegionWrap::Close(const Napi::CallbackInfo&) { region_.reset(); }

}  // namespace dwcp
