#include "binding/qemu_relay_wrap.h"

#include <string>
#include <vector>

#include "binding/native_error.h"
#include "binding/page_set_wrap.h"
#include "binding/region_wrap.h"

namespace dwcp {
namespace {

// A queued call looks the relay up again: a late one after the close finds nothing.
template <typename T>
using Slot = std::shared_ptr<std::weak_ptr<T>>;

template <typename T>
void Deliver(Napi::Env env, Napi::Function listener, const Slot<T>& slot) {
  std::shared_ptr<T> relay = slot->lock();
  if (relay == nullptr) return;
  const std::vector<qemu::RelayEvent> events = relay->TakeEvents();
  if (events.empty()) return;
  Napi::Array batch = Napi::Array::New(env, events.size());
  for (uint32_t i = 0; i < events.size(); i++) {
    Napi::Object event = Napi::Object::New(env);
    event.Set("type", events[i].type);
    event.Set("message", events[i].message);
    batch.Set(i, event);
  }
  listener.Call({batch});
}

template <typename T>
qemu::Relay::Notify NotifyThrough(Napi::ThreadSafeFunction notify, Slot<T> slot) {
  return [notify, slot]() {
    notify.NonBlockingCall(
        [slot](Napi::Env env, Napi::Function listener) { Deliver<T>(env, listener, slot); });
  };
}

template <typename T>
void StopWithEnvironment(Napi::Env env, const std::shared_ptr<T>& relay) {
  env.AddCleanupHook([weak = std::weak_ptr<T>(relay)]() {
    if (std::shared_ptr<T> running = weak.lock()) running->Stop();
  });
}

void Set(Napi::Object object, const char* name, uint64_t value) {
  object.Set(name, Napi::Number::New(object.Env(), static_cast<double>(value)));
}

std::vector<uint32_t> Pages(const Napi::Value& value) {
  const auto pages = value.As<Napi::Uint32Array>();
  return std::vector<uint32_t>(pages.Data(), pages.Data() + pages.ElementLength());
}

}  // namespace

Napi::Function QemuSourceWrap::Define(Napi::Env env) {
  return DefineClass(env, "QemuSource",
                     {InstanceMethod<&QemuSourceWrap::TakeDirty>("takeDirty"),
                      InstanceMethod<&QemuSourceWrap::SetReading>("setReading"),
                      InstanceMethod<&QemuSourceWrap::EndRound>("endRound"),
                      InstanceMethod<&QemuSourceWrap::Release>("release"),
                      InstanceMethod<&QemuSourceWrap::Counters>("counters"),
                      InstanceMethod<&QemuSourceWrap::Close>("close")});
}

QemuSourceWrap::QemuSourceWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const auto shadow = RegionWrap::From(info[1]).region();
  const std::string listen_path = info[2].As<Napi::String>();
  const std::string control_path = info[3].As<Napi::String>();
  const auto backlog_bytes = static_cast<uint64_t>(info[4].As<Napi::Number>().Int64Value());
  notify_ =
      Napi::ThreadSafeFunction::New(info.Env(), info[0].As<Napi::Function>(), "dwcp qemu", 0, 1);
  notify_.Unref(info.Env());
  auto slot = std::make_shared<std::weak_ptr<qemu::Source>>();
  closed_ = true;
  WithNativeErrors(info.Env(), [&]() -> Napi::Value {
    source_ = std::make_shared<qemu::Source>(NotifyThrough<qemu::Source>(notify_, slot), shadow,
                                             listen_path, control_path, backlog_bytes);
    return info.Env().Undefined();
  });
  closed_ = false;
  *slot = source_;
  StopWithEnvironment(info.Env(), source_);
}

QemuSourceWrap::~QemuSourceWrap() { Stop(); }

void QemuSourceWrap::Stop() {
  if (closed_) return;
  closed_ = true;
  source_->Stop();
  source_.reset();
  notify_.Release();
}

void QemuSourceWrap::Close(const Napi::CallbackInfo&) { Stop(); }

Napi::Value QemuSourceWrap::TakeDirty(const Napi::CallbackInfo& info) {
  PageSet& pages = PageSetWrap::From(info[0]).set();
  if (closed_) return Napi::Number::New(info.Env(), 0);
  if (pages.page_count() != source_->page_count()) {
    throw Napi::RangeError::New(info.Env(), "a page set of another region");
  }
  return Napi::Number::New(info.Env(), static_cast<double>(source_->TakeDirty(&pages)));
}

void QemuSourceWrap::SetReading(const Napi::CallbackInfo& info) {
  if (!closed_) source_->SetReading(info[0].As<Napi::Boolean>());
}

void QemuSourceWrap::EndRound(const Napi::CallbackInfo&) {
  if (!closed_) source_->EndRound();
}

void QemuSourceWrap::Release(const Napi::CallbackInfo&) {
  if (!closed_) source_->Release();
}

Napi::Value QemuSourceWrap::Counters(const Napi::CallbackInfo& info) {
  if (closed_) return info.Env().Null();
  const qemu::SourceCounters counters = source_->counters();
  Napi::Object out = Napi::Object::New(info.Env());
  Set(out, "pages", counters.pages);
  Set(out, "zeroPages", counters.zero_pages);
  Set(out, "stillZeroPages", counters.still_zero_pages);
  Set(out, "dirtyPages", counters.dirty_pages);
  Set(out, "shadowPages", counters.shadow_pages);
  return out;
}

Napi::Function QemuTargetWrap::Define(Napi::Env env) {
  return DefineClass(env, "QemuTarget",
                     {InstanceMethod<&QemuTargetWrap::Feed>("feed"),
                      InstanceMethod<&QemuTargetWrap::Counters>("counters"),
                      InstanceMethod<&QemuTargetWrap::Close>("close")});
}

QemuTargetWrap::QemuTargetWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const auto staging = RegionWrap::From(info[1]).region();
  auto fed = info[2].As<Napi::BigUint64Array>();
  if (fed.ElementLength() != staging->page_count()) {
    throw Napi::RangeError::New(info.Env(), "one digest per page of the region");
  }
  const std::string listen_path = info[3].As<Napi::String>();
  const std::string qemu_path = info[4].As<Napi::String>();
  notify_ =
      Napi::ThreadSafeFunction::New(info.Env(), info[0].As<Napi::Function>(), "dwcp qemu", 0, 1);
  notify_.Unref(info.Env());
  fed_ = Napi::Persistent(info[2].As<Napi::Object>());
  auto slot = std::make_shared<std::weak_ptr<qemu::Target>>();
  closed_ = true;
  WithNativeErrors(info.Env(), [&]() -> Napi::Value {
    target_ = std::make_shared<qemu::Target>(NotifyThrough<qemu::Target>(notify_, slot), staging,
                                             fed.Data(), listen_path, qemu_path);
    return info.Env().Undefined();
  });
  closed_ = false;
  *slot = target_;
  StopWithEnvironment(info.Env(), target_);
}

QemuTargetWrap::~QemuTargetWrap() { Stop(); }

void QemuTargetWrap::Stop() {
  if (closed_) return;
  closed_ = true;
  target_->Stop();
  target_.reset();
  fed_.Reset();
  notify_.Release();
}

void QemuTargetWrap::Close(const Napi::CallbackInfo&) { Stop(); }

// (pages: Uint32Array, zeros: Uint32Array, last: boolean)
void QemuTargetWrap::Feed(const Napi::CallbackInfo& info) {
  if (closed_) return;
  if (info[2].As<Napi::Boolean>()) return target_->Finish(Pages(info[0]), Pages(info[1]));
  target_->Feed(Pages(info[0]), Pages(info[1]));
}

Napi::Value QemuTargetWrap::Counters(const Napi::CallbackInfo& info) {
  if (closed_) return info.Env().Null();
  const qemu::TargetCounters counters = target_->counters();
  Napi::Object out = Napi::Object::New(info.Env());
  Set(out, "pages", counters.pages);
  Set(out, "fedPages", counters.fed_pages);
  Set(out, "fedZeroPages", counters.fed_zero_pages);
  Set(out, "queuedPages", counters.queued_pages);
  Set(out, "busyUs", counters.busy_us);
  return out;
}

}  // namespace dwcp
