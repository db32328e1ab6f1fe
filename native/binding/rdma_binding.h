#pragma once
#include <napi.h>

namespace dwcp {

void RegisterRdma(Napi::Env env, Napi::Object exports);

}  // namespace dwcp
