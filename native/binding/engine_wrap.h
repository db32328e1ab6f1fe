// JavaScript's handle of an Engine: plain data and integer handles, one batch of events at a time.
#pragma once
#include <napi.h>

#include <memory>

#include "engine/engine.h"

namespace dwcp {

class EngineWrap : public Napi::ObjectWrap<EngineWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  // (onEvents: (events) => void, ioThreads: number)
  explicit EngineWrap(const Napi::CallbackInfo& info);
  ~EngineWrap() override;

 private:
  Napi::Value Listen(const Napi::CallbackInfo& info);
  Napi::Value Dial(const Napi::CallbackInfo& info);
  void SendJoin(const Napi::CallbackInfo& info);
  void Attach(const Napi::CallbackInfo& info);
  Napi::Value StreamInfo(const Napi::CallbackInfo& info);
  void SetCongestion(const Napi::CallbackInfo& info);
  void CloseStream(const Napi::CallbackInfo& info);
  Napi::Value OpenLink(const Napi::CallbackInfo& info);
  Napi::Value SetKeys(const Napi::CallbackInfo& info);
  void SetRdma(const Napi::CallbackInfo& info);
  void SetMaxBandwidth(const Napi::CallbackInfo& info);
  void SetCodecPolicy(const Napi::CallbackInfo& info);
  void ShareContent(const Napi::CallbackInfo& info);
  Napi::Value TuneLink(const Napi::CallbackInfo& info);
  Napi::Value LinkTuning(const Napi::CallbackInfo& info);
  Napi::Value PathFacts(const Napi::CallbackInfo& info);
  Napi::Value LinkCounters(const Napi::CallbackInfo& info);
  Napi::Value LinkLanes(const Napi::CallbackInfo& info);
  void CloseLink(const Napi::CallbackInfo& info);
  Napi::Value SendPages(const Napi::CallbackInfo& info);
  Napi::Value ReceivePages(const Napi::CallbackInfo& info);
  Napi::Value SendBytes(const Napi::CallbackInfo& info);
  Napi::Value ReceiveBytes(const Napi::CallbackInfo& info);
  void WriteReturn(const Napi::CallbackInfo& info);
  Napi::Value SendBatch(const Napi::CallbackInfo& info);
  Napi::Value SendCounters(const Napi::CallbackInfo& info);
  Napi::Value ReceiveCounters(const Napi::CallbackInfo& info);
  Napi::Value Digests(const Napi::CallbackInfo& info);
  void CloseTransfer(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  void Stop();

  std::shared_ptr<Engine> engine_;
  Napi::ThreadSafeFunction notify_;
  bool closed_ = false;
};

}  // namespace dwcp
