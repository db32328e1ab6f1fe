// QEMU's stream as tests see it.
#pragma once
#include <napi.h>

namespace dwcp {

void RegisterQemu(Napi::Env env, Napi::Object exports);

}  // namespace dwcp
