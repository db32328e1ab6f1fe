#include "rdma/library.h"

#if DWCP_HAS_VERBS
#include <dlfcn.h>

#include <memory>

namespace dwcp {
namespace {

bool Find(void* handle, const char* symbol, void** out, std::string* why) {
  *out = dlsym(handle, symbol);
  if (*out != nullptr) return true;
  *why = std::string("the installed rdma-core is too old: it has no ") + symbol;
  return false;
}

void* OpenLibrary(const char* name, const char* package, std::string* why) {
  void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) *why = std::string(name) + " is not installed: apt-get install " + package;
  return handle;
}

std::unique_ptr<VerbsLibrary> Open(std::string* why) {
  void* verbs = OpenLibrary("libibverbs.so.1", "libibverbs1 ibverbs-providers", why);
  if (verbs == nullptr) return nullptr;
  void* cm = OpenLibrary("librdmacm.so.1", "librdmacm1", why);
  if (cm == nullptr) return nullptr;
  auto library = std::make_unique<VerbsLibrary>();
#define DWCP_FIND(name, symbol) \
  if (!Find(handle, #symbol, reinterpret_cast<void**>(&library->name), why)) return nullptr;
  void* handle = verbs;
  DWCP_IBVERBS(DWCP_FIND)
  handle = cm;
  DWCP_RDMACM(DWCP_FIND)
#undef DWCP_FIND
  return library;
}

}  // namespace

const VerbsLibrary* VerbsLibrary::Load(std::string* why) {
  static std::string problem;
  static const std::unique_ptr<VerbsLibrary> loaded = Open(&problem);
  if (loaded == nullptr) *why = problem;
  return loaded.get();
}

}  // namespace dwcp
#endif
