#include "binding/page_set_wrap.h"

namespace dwcp {

namespace {

constexpr napi_type_tag kTag = {0x6477637070616765, 0x7365740000000001};

uint64_t PageCountArgument(const Napi::CallbackInfo& info) {
  const double count = info[0].As<Napi::Number>().DoubleValue();
  // 2^36 pages are 256 TiB: more is a caller's mistake, and a bitmap too large to allocate.
  if (!(count >= 1 && count <= 68719476736.0)) {
    throw Napi::RangeError::New(info.Env(), "a page set covers 1 to 2^36 pages");
  }
  return static_cast<uint64_t>(count);
}

}  // namespace

void PageSetWrap::Register(Napi::Env env, Napi::Object exports) {
  exports.Set("PageSet",
              DefineClass(env, "PageSet",
                          {InstanceAccessor<&PageSetWrap::PageCount>("pageCount", napi_enumerable),
                           InstanceMethod<&PageSetWrap::Size>("size"),
                           InstanceMethod<&PageSetWrap::AddAll>("addAll"),
                           InstanceMethod<&PageSetWrap::Clear>("clear"),
                           InstanceMethod<&PageSetWrap::Add>("add"),
                           InstanceMethod<&PageSetWrap::Has>("has")}));
}

PageSetWrap::PageSetWrap(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<PageSetWrap>(info), set_(PageCountArgument(info)) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

PageSetWrap& PageSetWrap::From(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    throw Napi::TypeError::New(value.Env(), "not a native page set");
  }
  return *Unwrap(value.As<Napi::Object>());
}

Napi::Value PageSetWrap::PageCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(set_.page_count()));
}

Napi::Value PageSetWrap::Size(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(set_.Size()));
}

void PageSetWrap::AddAll(const Napi::CallbackInfo&) { set_.AddAll(); }

void PageSetWrap::Clear(const Napi::CallbackInfo&) { set_.Clear(); }

void PageSetWrap::Add(const Napi::CallbackInfo& info) { set_.Add(PageArgument(info)); }

Napi::Value PageSetWrap::Has(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), set_.Has(PageArgument(info)));
}

uint64_t PageSetWrap::PageArgument(const Napi::CallbackInfo& info) const {
  const double page = info[0].As<Napi::Number>().DoubleValue();
  if (!(page >= 0 && page < static_cast<double>(set_.page_count()))) {
    throw Napi::RangeError::New(info.Env(), "no such page in the set");
  }
  return static_cast<uint64_t>(page);
}

}  // namespace dwcp
