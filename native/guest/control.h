// The guest's control socket: one line asked, one line of JSON answered.
#pragma once
#include <functional>
#include <string>

namespace dwcp::guest {

// Serves until `answer` returns an empty string. Throws std::system_error when the path is taken.
void ServeControl(const std::string& path,
                  const std::function<std::string(const std::string&)>& answer);

}  // namespace dwcp::guest
