// The addon's only entry: each component registers its own exports.
#include <napi.h>

static Napi::Object Init(Napi::Env, Napi::Object exports) { return exports; }

NODE_API_MODULE(dwcp, Init)
