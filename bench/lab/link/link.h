// Two hosts and the wires between them, as one thing that commands are given to.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "host.h"
#include "shape.h"
#include "wire.h"

namespace dwcp::lab {

class Link {
 public:
  /** `owner` names the hosts. Throws std::system_error. */
  Link(int owner, const Shape& shape, uint64_t seed);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  /** Where the hosts are, as a line of JSON. */
  std::string Introduction() const;
  /** `set [ab|ba] KEY=VALUE...` or `stats`; answers with a line of JSON. */
  std::string Obey(const std::string& command);

 private:
  struct Direction {
    Shape shape;
    std::unique_ptr<Wire> wire;
    std::thread thread;
  };

  std::string Set(const std::vector<std::string>& words);
  std::string Statistics() const;

  Host a_;
  Host b_;
  Direction ab_;
  Direction ba_;
  bool is_realtime_ = true;
};

}  // namespace dwcp::lab
