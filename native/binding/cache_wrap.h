// JavaScript's handle of a content cache: the store and what fills it.
#pragma once
#include <napi.h>

#include <memory>

#include "cache/content_filler.h"
#include "cache/content_store.h"

namespace dwcp {

class ContentCacheWrap : public Napi::ObjectWrap<ContentCacheWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  // Throws a TypeError when it is something else.
  static ContentCacheWrap& From(const Napi::Value& value);
  // (directory, bytesMax, secret)
  explicit ContentCacheWrap(const Napi::CallbackInfo& info);

  // Throws when it was closed.
  std::shared_ptr<ContentStore> store() const;

 private:
  Napi::Value Keep(const Napi::CallbackInfo& info);
  Napi::Value Counters(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  std::shared_ptr<ContentStore> store_;
  std::unique_ptr<ContentFiller> filler_;
};

void RegisterCache(Napi::Env env, Napi::Object exports);

}  // namespace dwcp
