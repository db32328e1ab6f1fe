// Unix sockets of this host, non-blocking. Each returns a descriptor or minus errno.
#pragma once
#include <string>

namespace dwcp {

int ListenLocal(const std::string& path);
int ConnectLocal(const std::string& path);

}  // namespace dwcp
