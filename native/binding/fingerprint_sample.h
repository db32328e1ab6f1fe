// What it costs to find out which pages a peer has already, for `bench encoding`.
#pragma once
#include <napi.h>

namespace dwcp {

Napi::Value FingerprintSample(const Napi::CallbackInfo& info);

}  // namespace dwcp
