// The codecs by themselves, for benchmarks and tests: no socket, one thread.
#pragma once
#include <napi.h>

namespace dwcp {

void RegisterCodec(Napi::Env env, Napi::Object exports);

}  // namespace dwcp
