// What RDMA devices this machine has. Works, and says why there are none, in every build.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace dwcp {

struct RdmaPort {
  std::string device;
  int port = 0;
  std::string state;                   // active, down, ...
  uint32_t mtu_bytes = 0;              // of the packets in use
  std::vector<std::string> addresses;  // of the network below, as rdma_cm takes them
  uint32_t queue_pairs_max = 0;
};

// Empty, and why, where there is nothing that could be used.
std::vector<RdmaPort> ListRdmaPorts(std::string* why);

}  // namespace dwcp
