// What the bulk engine adds to the addon's exports.
#pragma once
#include <napi.h>

namespace dwcp {

void RegisterEngine(Napi::Env env, Napi::Object exports);
void RegisterCrypto(Napi::Env env, Napi::Object exports);
void RegisterLinkCore(Napi::Env env, Napi::Object exports);

}  // namespace dwcp
