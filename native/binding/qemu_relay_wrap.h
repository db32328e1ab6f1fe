// JavaScript's handles of the two ends of a QEMU migration: which pages, never what is in them.
#pragma once
#include <napi.h>

#include <memory>

#include "qemu/source.h"
#include "qemu/target.h"

namespace dwcp {

// (onEvents: (events: [type, message][]) => void, shadow, listenPath, controlPath, backlogBytes)
class QemuSourceWrap : public Napi::ObjectWrap<QemuSourceWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit QemuSourceWrap(const Napi::CallbackInfo& info);
  ~QemuSourceWrap() override;

 private:
  Napi::Value TakeDirty(const Napi::CallbackInfo& info);
  void SetReading(const Napi::CallbackInfo& info);
  void EndRound(const Napi::CallbackInfo& info);
  void Release(const Napi::CallbackInfo& info);
  Napi::Value Counters(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  void Stop();

  std::shared_ptr<qemu::Source> source_;
  Napi::ThreadSafeFunction notify_;
  bool closed_ = false;
};

// (onEvents, staging, fed: BigUint64Array, listenPath, qemuPath)
class QemuTargetWrap : public Napi::ObjectWrap<QemuTargetWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit QemuTargetWrap(const Napi::CallbackInfo& info);
  ~QemuTargetWrap() override;

 private:
  void Feed(const Napi::CallbackInfo& info);
  Napi::Value Counters(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  void Stop();

  std::shared_ptr<qemu::Target> target_;
  Napi::ThreadSafeFunction notify_;
  Napi::ObjectReference fed_;  // the target writes into it
  bool closed_ = false;
};

}  // namespace dwcp
