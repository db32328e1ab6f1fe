// The rules of link_core as JavaScript sees them: `step(event) -> actions`, for simulator and
// tests.
#include <napi.h>

#include <string>

#include "binding/engine_binding.h"
#include "engine/link_core.h"

namespace dwcp {
namespace {

uint64_t Field(const Napi::Object& object, const char* name) {
  return static_cast<uint64_t>(object.Get(name).As<Napi::Number>().Int64Value());
}

Napi::Number Number(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

Napi::Object Action(Napi::Env env, const char* type) {
  Napi::Object action = Napi::Object::New(env);
  action.Set("type", type);
  return action;
}

// An acknowledgement crosses as {cumulative, creditBytes, landed: sequences beyond it}.
bool ReadAck(const Napi::Object& event, AckState* ack) {
  ack->cumulative = Field(event, "cumulative");
  ack->credit_bytes = Field(event, "creditBytes");
  const auto landed = event.Get("landed").As<Napi::Array>();
  for (uint32_t i = 0; i < landed.Length(); i++) {
    const auto seq = static_cast<uint64_t>(landed.Get(i).As<Napi::Number>().Int64Value());
    if (seq <= ack->cumulative || seq > ack->cumulative + kOutstandingMax) return false;
    const uint64_t bit = seq - ack->cumulative - 1;
    ack->words[bit / 64] |= uint64_t{1} << (bit % 64);
  }
  ack->word_count = kOutstandingMax / 64;
  return true;
}

class SendCoreWrap : public Napi::ObjectWrap<SendCoreWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "LinkSendCore", {InstanceMethod<&SendCoreWrap::Step>("step")});
  }
  explicit SendCoreWrap(const Napi::CallbackInfo& info)
      : ObjectWrap(info), core_(static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value())) {}

 private:
  // pull{stream, bytes} -> send{seq, reinjected} | idle; reserve{stream, bytes} -> build{seq} |
  // idle, then built{seq, bytes}; ack{..} -> release{seq}* | refuse; streamDown{stream} ->
  // reinject{count}; limit{bytes}
  Napi::Value Step(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    const auto event = info[0].As<Napi::Object>();
    const std::string type = event.Get("type").As<Napi::String>().Utf8Value();
    Napi::Array actions = Napi::Array::New(env);
    const auto push = [&actions](Napi::Object action) { actions.Set(actions.Length(), action); };
    if (type == "pull") {
      const int stream = static_cast<int>(Field(event, "stream"));
      const uint64_t bytes = Field(event, "bytes");
      uint64_t seq = core_.PullReinjection(stream);
      const bool reinjected = seq != 0;
      if (!reinjected && core_.MayStage(bytes)) seq = core_.Stage(bytes, stream);
      Napi::Object action = Action(env, seq == 0 ? "idle" : "send");
      if (seq != 0) {
        action.Set("seq", Number(env, seq));
        action.Set("reinjected", reinjected);
      }
      push(action);
    } else if (type == "reserve") {
      const uint64_t bytes = Field(event, "bytes");
      const bool may = core_.MayStage(bytes);
      Napi::Object action = Action(env, may ? "build" : "idle");
      if (may) {
        const int stream = static_cast<int>(Field(event, "stream"));
        action.Set("seq", Number(env, core_.Reserve(bytes, stream)));
      }
      push(action);
    } else if (type == "built") {
      core_.Built(Field(event, "seq"), Field(event, "bytes"));
    } else if (type == "limit") {
      core_.LimitOutstanding(Field(event, "bytes"));
    } else if (type == "ack") {
      AckState ack;
      const bool possible = ReadAck(event, &ack) && core_.Acked(ack, [&](uint64_t seq) {
        Napi::Object action = Action(env, "release");
        action.Set("seq", Number(env, seq));
        push(action);
      });
      if (!possible) push(Action(env, "refuse"));
    } else if (type == "streamDown") {
      Napi::Object action = Action(env, "reinject");
      action.Set("count", core_.StreamDown(static_cast<int>(Field(event, "stream"))));
      push(action);
    } else {
      throw Napi::TypeError::New(env, "unknown event " + type);
    }
    return actions;
  }

  SendCore core_;
};

class ReceiveCoreWrap : public Napi::ObjectWrap<ReceiveCoreWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "LinkReceiveCore", {InstanceMethod<&ReceiveCoreWrap::Step>("step")});
  }
  explicit ReceiveCoreWrap(const Napi::CallbackInfo& info)
      : ObjectWrap(info),
        page_count_(static_cast<uint64_t>(info[1].As<Napi::Number>().Int64Value())),
        core_(static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value()), page_count_) {}

 private:
  // chunk{seq, bytes, pages} -> writePage{page}*, ack{..} | ack{..} for a duplicate | refuse
  Napi::Value Step(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    const auto event = info[0].As<Napi::Object>();
    Napi::Array actions = Napi::Array::New(env);
    const auto push = [&actions](Napi::Object action) { actions.Set(actions.Length(), action); };
    const uint64_t seq = Field(event, "seq");
    const auto pages = event.Get("pages").As<Napi::Array>();
    for (uint32_t i = 0; i < pages.Length(); i++) {
      const int64_t page = pages.Get(i).As<Napi::Number>().Int64Value();
      if (page < 0 || static_cast<uint64_t>(page) >= page_count_) {
        push(Action(env, "refuse"));
        return actions;
      }
    }
    const Offer offer = core_.Offered(seq, Field(event, "bytes"));
    if (offer == Offer::kImpossible) {
      push(Action(env, "refuse"));
      return actions;
    }
    if (offer == Offer::kNew) {
      for (uint32_t i = 0; i < pages.Length(); i++) {
        const auto page = static_cast<uint64_t>(pages.Get(i).As<Napi::Number>().Int64Value());
        if (!core_.AdmitPage(page, seq)) continue;
        Napi::Object action = Action(env, "writePage");
        action.Set("page", Number(env, page));
        push(action);
      }
      core_.Landed(seq);
    }
    push(Ack(env));
    return actions;
  }

  Napi::Object Ack(Napi::Env env) {
    AckState ack;
    core_.Describe(&ack);
    Napi::Object action = Action(env, "ack");
    action.Set("cumulative", Number(env, ack.cumulative));
    action.Set("creditBytes", Number(env, ack.credit_bytes));
    Napi::Array landed = Napi::Array::New(env);
    for (uint32_t bit = 0; bit < ack.word_count * 64; bit++) {
      if (((ack.words[bit / 64] >> (bit % 64)) & 1) == 0) continue;
      landed.Set(landed.Length(), Number(env, ack.cumulative + 1 + bit));
    }
    action.Set("landed", landed);
    return action;
  }

  uint64_t page_count_;
  ReceiveCore core_;
};

}  // namespace

void RegisterLinkCore(Napi::Env env, Napi::Object exports) {
  exports.Set("LinkSendCore", SendCoreWrap::Define(env));
  exports.Set("LinkReceiveCore", ReceiveCoreWrap::Define(env));
}

}  // namespace dwcp
