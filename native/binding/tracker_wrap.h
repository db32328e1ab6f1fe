// JavaScript's handle of a DirtyTracker: the port `DirtyTracker` of src/ports/memory.ts.
#pragma once
#include <napi.h>

#include <memory>

#include "memory/dirty_tracker.h"

namespace dwcp {

class TrackerWrap : public Napi::ObjectWrap<TrackerWrap> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);
  // backend: 'auto', 'pagemap-scan', 'soft-dirty' or 'rehash'; pid, address: BigInt, region.
  explicit TrackerWrap(const Napi::CallbackInfo& info);

 private:
  Napi::Value Backend(const Napi::CallbackInfo& info);
  Napi::Value Scan(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  DirtyTracker& Tracker(const Napi::CallbackInfo& info) const;

  std::unique_ptr<DirtyTracker> tracker_;
};

}  // namespace dwcp
