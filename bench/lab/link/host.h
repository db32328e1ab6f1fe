// A host of the link: a network namespace with one TUN device in it, whose other side is a
// descriptor.
#pragma once

#include <cstdint>
#include <string>

namespace dwcp::lab {

struct Host {
  std::string name;
  std::string address;
  /** What the namespace sends comes out of here, a packet per read, and the other way round. */
  int device = -1;
  /** The namespace's /proc/net/dev. */
  int statistics = -1;
};

/** Throws std::system_error. The calling thread is in its own namespace again afterwards. */
void MakeHost(Host* host);

/** Packets that the kernel dropped before they came out of the device. */
uint64_t DeviceDrops(const Host& host);

/** Ends every process that is in it. Does nothing to a namespace that is gone. */
void RemoveHost(const std::string& name);

/** Of links that were killed with everything that would have cleaned up after them. */
void RemoveStaleHosts();

/** `dwcp-lab-PID-SIDE`. */
std::string HostName(int pid, char side);

}  // namespace dwcp::lab
