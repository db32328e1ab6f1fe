// What the memory component adds to the addon's exports.
#pragma once
#include <napi.h>

namespace dwcp {

void RegisterMemory(Napi::Env env, Napi::Object exports);

}  // namespace dwcp
