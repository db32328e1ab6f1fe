// JavaScript's handle of a Region: the port `Region` of src/ports/memory.ts plus its descriptor.
#pragma once
#include <napi.h>

#include <memory>

#include "memory/region.h"

namespace dwcp {

class RegionWrap : public Napi::ObjectWrap<RegionWrap> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);
  static Napi::Object New(Napi::Env env, std::shared_ptr<Region> region);
  // The wrap behind a JavaScript value; throws a TypeError when it is something else.
  static RegionWrap& From(const Napi::Value& value);

  explicit RegionWrap(const Napi::CallbackInfo& info);

  // Throws when it was closed. Whoever works on other threads keeps the pointer.
  std::shared_ptr<Region> region() const;

 private:
  Napi::Value SizeBytes(const Napi::CallbackInfo& info);
  Napi::Value PageBytes(const Napi::CallbackInfo& info);
  Napi::Value Fd(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  std::shared_ptr<Region> region_;
  uint64_t size_bytes_ = 0;
};

}  // namespace dwcp
