// JavaScript's handle of a PageSet: the port `PageSet` of src/ports/memory.ts.
#pragma once
#include <napi.h>

#include "memory/page_set.h"

namespace dwcp {

class PageSetWrap : public Napi::ObjectWrap<PageSetWrap> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);
  // The wrap behind a JavaScript value; throws a TypeError when it is something else.
  static PageSetWrap& From(const Napi::Value& value);

  explicit PageSetWrap(const Napi::CallbackInfo& info);

  PageSet& set() { return set_; }

 private:
  Napi::Value PageCount(const Napi::CallbackInfo& info);
  Napi::Value Size(const Napi::CallbackInfo& info);
  void AddAll(const Napi::CallbackInfo& info);
  void Clear(const Napi::CallbackInfo& info);
  // For tests and repairs: one page in, and whether it is.
  void Add(const Napi::CallbackInfo& info);
  Napi::Value Has(const Napi::CallbackInfo& info);
  uint64_t PageArgument(const Napi::CallbackInfo& info) const;

  PageSet set_;
};

}  // namespace dwcp
