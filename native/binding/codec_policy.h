// A codec policy as it crosses from JavaScript: kind, codec, level, in this order.
#pragma once
#include <napi.h>

#include <string>

#include "codec/policy.h"

namespace dwcp {

inline const char* CodecName(Codec codec) {
  return codec == Codec::kNone ? "none" : codec == Codec::kLz4 ? "lz4" : "zstd";
}

inline Codec CodecFrom(const Napi::Value& value) {
  const std::string name = value.As<Napi::String>();
  return name == "lz4" ? Codec::kLz4 : name == "zstd" ? Codec::kZstd : Codec::kNone;
}

inline CodecPolicy PolicyFrom(const Napi::CallbackInfo& info, size_t first) {
  CodecPolicy policy;
  const std::string kind = info[first].As<Napi::String>();
  policy.kind = kind == "adaptive" ? CodecPolicy::Kind::kAdaptive
                : kind == "fixed"  ? CodecPolicy::Kind::kFixed
                                   : CodecPolicy::Kind::kRaw;
  policy.fixed = {CodecFrom(info[first + 1]), info[first + 2].As<Napi::Number>().Int32Value()};
  return policy;
}

}  // namespace dwcp
