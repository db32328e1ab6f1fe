// The addon's only entry: each component registers its own exports.
#include <napi.h>

#include "binding/cache_wrap.h"
#include "binding/codec_binding.h"
#include "binding/engine_binding.h"
#include "binding/memory_binding.h"
#include "binding/qemu_binding.h"
#include "binding/rdma_binding.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  dwcp::RegisterMemory(env, exports);
  dwcp::RegisterEngine(env, exports);
  dwcp::RegisterQemu(env, exports);
  dwcp::RegisterCodec(env, exports);
  dwcp::RegisterCache(env, exports);
  dwcp::RegisterRdma(env, exports);
  return exports;
}

NODE_API_MODULE(dwcp, Init)
