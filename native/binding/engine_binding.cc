#include "binding/engine_binding.h"

#include "binding/engine_wrap.h"

namespace dwcp {

void RegisterEngine(Napi::Env env, Napi::Object exports) {
  exports.Set("Engine", EngineWrap::Define(env));
  RegisterCrypto(env, exports);
  RegisterLinkCore(env, exports);
}

}  // namespace dwcp
