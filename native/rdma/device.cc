#include "rdma/device.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "rdma/library.h"

namespace dwcp {

#if DWCP_HAS_VERBS
namespace {

const char* StateName(int state) {
  switch (state) {
    case IBV_PORT_ACTIVE:
      return "active";
    case IBV_PORT_DOWN:
      return "down";
    case IBV_PORT_INIT:
      return "initializing";
    case IBV_PORT_ARMED:
      return "armed";
    default:
      return "unknown";
  }
}

// A RoCE port is known by the addresses of its network interface; those of the link alone reach
// nobody by themselves.
void AddAddress(const ibv_gid& gid, std::vector<std::string>* addresses) {
  const auto* v6 = reinterpret_cast<const in6_addr*>(gid.raw);
  if (IN6_IS_ADDR_UNSPECIFIED(v6) || IN6_IS_ADDR_LINKLOCAL(v6)) return;
  char text[INET6_ADDRSTRLEN] = {};
  const bool is_v4 = IN6_IS_ADDR_V4MAPPED(v6);
  if (inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? gid.raw + 12 : gid.raw, text, sizeof text) ==
      nullptr) {
    return;
  }
  if (std::find(addresses->begin(), addresses->end(), text) == addresses->end()) {
    addresses->push_back(text);
  }
}

void AddPorts(const VerbsLibrary& verbs, ibv_device* device, std::vector<RdmaPort>* ports) {
  ibv_context* context = verbs.open_device(device);
  if (context == nullptr) return;
  ibv_device_attr attributes{};
  if (verbs.query_device(context, &attributes) != 0) attributes.phys_port_cnt = 0;
  for (int number = 1; number <= attributes.phys_port_cnt; number++) {
    ibv_port_attr port{};
    // The exported function fills what was there when it was made, which is all that is read here.
    if (verbs.query_port(context, static_cast<uint8_t>(number),
                         reinterpret_cast<_compat_ibv_port_attr*>(&port)) != 0) {
      continue;
    }
    RdmaPort found;
    found.device = verbs.get_device_name(device);
    found.port = number;
    found.state = StateName(port.state);
    found.mtu_bytes = port.active_mtu == 0 ? 0 : 128u << port.active_mtu;
    found.queue_pairs_max = static_cast<uint32_t>(attributes.max_qp);
    for (int index = 0; index < port.gid_tbl_len; index++) {
      ibv_gid gid{};
      if (verbs.query_gid(context, static_cast<uint8_t>(number), index, &gid) == 0) {
        AddAddress(gid, &found.addresses);
      }
    }
    ports->push_back(std::move(found));
  }
  verbs.close_device(context);
}

}  // namespace

std::vector<RdmaPort> ListRdmaPorts(std::string* why) {
  std::vector<RdmaPort> ports;
  const VerbsLibrary* verbs = VerbsLibrary::Load(why);
  if (verbs == nullptr) return ports;
  int count = 0;
  ibv_device** devices = verbs->get_device_list(&count);
  for (int i = 0; devices != nullptr && i < count; i++) AddPorts(*verbs, devices[i], &ports);
  if (devices != nullptr) verbs->free_device_list(devices);
  if (ports.empty()) *why = "this machine has no RDMA device";
  return ports;
}

#else

std::vector<RdmaPort> ListRdmaPorts(std::string* why) {
  *why =
      "dwcp was built without RDMA: apt-get install libibverbs-dev librdmacm-dev, and build it "
      "anew";
  return {};
}

#endif

}  // namespace dwcp
