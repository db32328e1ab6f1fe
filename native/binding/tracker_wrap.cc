#include "binding/tracker_wrap.h"

#include <chrono>
#include <string>
#include <system_error>

#include "binding/native_error.h"
#include "binding/page_set_wrap.h"
#include "binding/region_wrap.h"

namespace dwcp {
namespace {

// The best first; the last one always works.
std::unique_ptr<DirtyTracker> MakeTracker(const std::string& backend, pid_t pid, uint64_t address,
                                          const std::shared_ptr<Region>& region) {
  const bool is_any = backend == "auto";
  if (is_any || backend == "pagemap-scan") {
    try {
      return MakePagemapTracker(pid, address, region);
    } catch (const std::system_error&) {
      if (!is_any) throw;
    }
  }
  if (is_any || backend == "soft-dirty") {
    try {
      return MakeSoftDirtyTracker(pid, address, region);
    } catch (const std::system_error&) {
      if (!is_any) throw;
    }
  }
  return MakeRehashTracker(region);
}

}  // namespace

void TrackerWrap::Register(Napi::Env env, Napi::Object exports) {
  exports.Set("DirtyTracker",
              DefineClass(env, "DirtyTracker",
                          {InstanceAccessor<&TrackerWrap::Backend>("backend", napi_enumerable),
                           InstanceMethod<&TrackerWrap::Scan>("scan"),
                           InstanceMethod<&TrackerWrap::Close>("close")}));
}

TrackerWrap::TrackerWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TrackerWrap>(info) {
  const std::string backend = info[0].As<Napi::String>();
  const pid_t pid = info[1].As<Napi::Number>();
  bool lossless = false;
  const uint64_t address = info[2].As<Napi::BigInt>().Uint64Value(&lossless);
  const auto region = RegionWrap::From(info[3]).region();
  WithNativeErrors(info.Env(), [&]() -> Napi::Value {
    tracker_ = MakeTracker(backend, pid, address, region);
    return info.Env().Undefined();
  });
}

DirtyTracker& TrackerWrap::Tracker(const Napi::CallbackInfo& info) const {
  if (!tracker_) throw Napi::Error::New(info.Env(), "the dirty tracker is closed");
  return *tracker_;
}

Napi::Value TrackerWrap::Backend(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), Tracker(info).backend());
}

Napi::Value TrackerWrap::Scan(const Napi::CallbackInfo& info) {
  PageSet& into = PageSetWrap::From(info[0]).set();
  return WithNativeErrors(info.Env(), [&]() -> Napi::Value {
    const auto started = std::chrono::steady_clock::now();
    const uint64_t pages = Tracker(info).Scan(&into);
    const auto elapsed = std::chrono::steady_clock::now() - started;
    Napi::Object scan = Napi::Object::New(info.Env());
    scan["dirtyPages"] = Napi::Number::New(info.Env(), static_cast<double>(pages));
    scan["elapsedUs"] = Napi::Number::New(
        info.Env(), static_cast<double>(
                        std::chrono::duration_cast<std::chrono::microseconds>(elapsed).count()));
    return scan;
  });
}

void TrackerWrap::Close(const Napi::CallbackInfo&) { tracker_.reset(); }

}  // namespace dwcp
