// Sealer and opener as JavaScript sees them, for tests and the simulator: buffers in, buffers out.
#include <napi.h>

#include "binding/engine_binding.h"
#include "crypto/opener.h"
#include "crypto/sealer.h"

namespace dwcp {
namespace {

using Bytes = Napi::Buffer<uint8_t>;

SealPart PartOf(const Napi::Value& value) {
  auto bytes = value.As<Napi::Uint8Array>();
  return {bytes.Data(), bytes.ByteLength()};
}

Bytes CopyOf(const Napi::CallbackInfo& info, size_t index) {
  const SealPart part = PartOf(info[index]);
  return Bytes::Copy(info.Env(), part.data, part.size);
}

uint64_t LimitOf(const Napi::CallbackInfo& info, size_t index, uint64_t otherwise) {
  if (!info[index].IsNumber()) return otherwise;
  return static_cast<uint64_t>(info[index].As<Napi::Number>().Int64Value());
}

class FrameSealerWrap : public Napi::ObjectWrap<FrameSealerWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "FrameSealer",
                       {InstanceMethod<&FrameSealerWrap::SealChunk>("sealChunk"),
                        InstanceMethod<&FrameSealerWrap::SealSmall>("sealSmall"),
                        InstanceMethod<&FrameSealerWrap::Unseal>("unseal"),
                        InstanceMethod<&FrameSealerWrap::IsStale>("isStale")});
  }
  // secret, keyBytes, bytesPerKey?, framesPerLaneAndKey?
  explicit FrameSealerWrap(const Napi::CallbackInfo& info)
      : ObjectWrap(info),
        sealer_(PartOf(info[0]).data, info[1].As<Napi::Number>().Uint32Value(),
                {LimitOf(info, 2, SealLimits{}.bytes_per_key),
                 LimitOf(info, 3, SealLimits{}.frames_per_lane_and_key)}) {}

 private:
  Napi::Value SealChunk(const Napi::CallbackInfo& info) { return Seal(info, true); }
  Napi::Value SealSmall(const Napi::CallbackInfo& info) { return Seal(info, false); }
  // (header, body) -> {nonce, body, tag}
  Napi::Value Seal(const Napi::CallbackInfo& info, bool is_chunk) {
    const SealPart header = PartOf(info[0]);
    Bytes body = CopyOf(info, 1);
    const SealPart part{body.Data(), body.Length()};
    Bytes nonce = Bytes::New(info.Env(), kNonceBytes);
    Bytes tag = Bytes::New(info.Env(), kSealTagBytes);
    if (is_chunk) {
      sealer_.SealChunk(header, &part, 1, nonce.Data(), tag.Data());
    } else {
      sealer_.SealSmall(header, part, nonce.Data(), tag.Data());
    }
    Napi::Object sealed = Napi::Object::New(info.Env());
    sealed.Set("nonce", nonce);
    sealed.Set("body", body);
    sealed.Set("tag", tag);
    return sealed;
  }
  Napi::Value Unseal(const Napi::CallbackInfo& info) {
    Bytes body = CopyOf(info, 2);
    const SealPart part{body.Data(), body.Length()};
    const bool holds =
        sealer_.Unseal(PartOf(info[1]).data, PartOf(info[0]), &part, 1, PartOf(info[3]).data);
    return holds ? body : info.Env().Null();
  }
  Napi::Value IsStale(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), sealer_.IsStale(PartOf(info[0]).data));
  }

  Sealer sealer_;
};

class FrameOpenerWrap : public Napi::ObjectWrap<FrameOpenerWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "FrameOpener",
                       {InstanceMethod<&FrameOpenerWrap::Open>("open"),
                        InstanceMethod<&FrameOpenerWrap::Mark>("mark")});
  }
  explicit FrameOpenerWrap(const Napi::CallbackInfo& info)
      : ObjectWrap(info), opener_(PartOf(info[0]).data, info[1].As<Napi::Number>().Uint32Value()) {}

 private:
  // (header, nonce, body, tag) -> the plain body, or null
  Napi::Value Open(const Napi::CallbackInfo& info) {
    Bytes body = CopyOf(info, 2);
    const SealPart part{body.Data(), body.Length()};
    const bool holds =
        opener_.Open(PartOf(info[1]).data, PartOf(info[0]), &part, 1, PartOf(info[3]).data);
    return holds ? body : info.Env().Null();
  }
  Napi::Value Mark(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), opener_.Mark(PartOf(info[0]).data));
  }

  Opener opener_;
};

}  // namespace

void RegisterCrypto(Napi::Env env, Napi::Object exports) {
  exports.Set("FrameSealer", FrameSealerWrap::Define(env));
  exports.Set("FrameOpener", FrameOpenerWrap::Define(env));
}

}  // namespace dwcp
