#include "binding/rdma_binding.h"

#include <string>

#include "rdma/device.h"

namespace dwcp {
namespace {

Napi::Value RdmaPorts(const Napi::CallbackInfo& info) {
  std::string why;
  const std::vector<RdmaPort> found = ListRdmaPorts(&why);
  Napi::Array ports = Napi::Array::New(info.Env(), found.size());
  for (uint32_t i = 0; i < found.size(); i++) {
    const RdmaPort& each = found[i];
    Napi::Array addresses = Napi::Array::New(info.Env(), each.addresses.size());
    for (uint32_t j = 0; j < each.addresses.size(); j++) addresses.Set(j, each.addresses[j]);
    Napi::Object port = Napi::Object::New(info.Env());
    port.Set("device", each.device);
    port.Set("port", each.port);
    port.Set("state", each.state);
    port.Set("mtuBytes", each.mtu_bytes);
    port.Set("queuePairsMax", each.queue_pairs_max);
    port.Set("addresses", addresses);
    ports.Set(i, port);
  }
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("ports", ports);
  out.Set("why", why);
  return out;
}

}  // namespace

void RegisterRdma(Napi::Env env, Napi::Object exports) {
  exports.Set("rdmaPorts", Napi::Function::New(env, RdmaPorts));
}

}  // namespace dwcp
