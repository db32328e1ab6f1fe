// dwcp-guest: a small real workload in a process of its own, to be moved like a VM.
// It outlives its agent (own session), creates its memory and its dirty tracking, and keeps both.
#include <signal.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <system_error>

#include "guest/control.h"
#include "guest/workload.h"
#include "memory/region.h"
#include "memory/write_tracking.h"

namespace {

using dwcp::guest::Report;
using dwcp::guest::Workload;
using Flags = std::map<std::string, std::string>;

// Without it an agent finds dirty pages in another way; the log says why. The descriptor stays open
// for as long as the process lives.
void LetWritesBeTracked(const dwcp::Region& region) {
  try {
    dwcp::TrackWrites(region.data(), region.size_bytes());
  } catch (const std::system_error& error) {
    std::fprintf(stderr, "dwcp-guest: the kernel does not track writes: %s\n", error.what());
  }
}

Flags ParseFlags(int argc, char** argv) {
  Flags flags;
  for (int index = 1; index < argc; ++index) {
    const std::string flag = argv[index];
    if (flag == "--incoming") {
      flags["incoming"] = "1";
    } else if (flag.rfind("--", 0) == 0 && index + 1 < argc) {
      flags[flag.substr(2)] = argv[++index];
    } else {
      std::fprintf(stderr, "dwcp-guest: unknown flag %s\n", flag.c_str());
      std::exit(2);
    }
  }
  return flags;
}

uint64_t Number(const Flags& flags, const char* name, uint64_t absent) {
  const auto found = flags.find(name);
  return found == flags.end() ? absent : std::strtoull(found->second.c_str(), nullptr, 10);
}

std::string Json(const Report& report) {
  return "{\"operations\":" + std::to_string(report.operations) +
         ",\"longestGapUs\":" + std::to_string(report.longest_gap_us) +
         ",\"invariantHeld\":" + (report.invariant_held ? "true" : "false") +
         ",\"dirtyBytesPerSec\":" + std::to_string(report.dirty_bytes_per_sec) +
         ",\"askedDirtyBytesPerSec\":" + std::to_string(report.asked_dirty_bytes_per_sec) + "}";
}

struct Guest {
  std::shared_ptr<dwcp::Region> region;
  Workload workload;

  explicit Guest(std::shared_ptr<dwcp::Region> memory)
      : region(std::move(memory)),
        workload(region->data(), region->size_bytes(), std::getenv("DWCP_GUEST_HEARTBEAT")) {}

  // The address is text: it may exceed what JavaScript's numbers hold exactly.
  std::string Describe() const {
    return "{\"pid\":" + std::to_string(getpid()) +
           ",\"sizeBytes\":" + std::to_string(region->size_bytes()) + ",\"address\":\"" +
           std::to_string(reinterpret_cast<uint64_t>(region->data())) +
           "\",\"memoryFd\":" + std::to_string(region->fd()) +
           ",\"isRunning\":" + (workload.is_running() ? "true" : "false") + "}";
  }

  std::string Answer(const std::string& command) {
    if (command == "describe") return Describe();
    if (command == "quit") return "";
    if (!workload.IsValid()) return "{\"error\":\"the memory holds no guest of this size\"}";
    if (command == "report") return Json(workload.MakeReport());
    uint64_t start = 0, stride = 0, count = 0;
    const char* format = "write %" SCNu64 " %" SCNu64 " %" SCNu64;
    if (std::sscanf(command.c_str(), format, &start, &stride, &count) == 3) {
      const uint64_t elapsed_ns = workload.WritePages(start, stride, count);
      return "{\"elapsedNs\":" + std::to_string(elapsed_ns) + "}";
    }
    if (command == "pause") {
      workload.Pause();
    } else if (command == "resume") {
      workload.Resume();
    } else if (command == "reset-gap") {
      workload.ResetGap();
    } else {
      return "{\"error\":\"unknown command\"}";
    }
    return "{\"ok\":true}";
  }
};

}  // namespace

int main(int argc, char** argv) {
  const Flags flags = ParseFlags(argc, argv);
  const uint64_t size_bytes = Number(flags, "size", 0);
  const bool is_incoming = flags.count("incoming") != 0;
  const auto socket_path = flags.find("socket");
  if (size_bytes < 1048576 || size_bytes % dwcp::kPageBytes != 0 || socket_path == flags.end()) {
    std::fprintf(stderr,
                 "usage: dwcp-guest --socket PATH --size BYTES [--name NAME] [--dirty-rate BYTES] "
                 "[--working-set BYTES] [--zero-permille N] [--incoming]\n"
                 "--size is a multiple of 4096, at least 1 MiB\n");
    return 2;
  }
  // Its own session: otherwise the agent's death can orphan the group and wake a stopped guest.
  setsid();
  signal(SIGPIPE, SIG_IGN);
  try {
    const auto name = flags.find("name");
    Guest guest(
        dwcp::Region::Create(name == flags.end() ? "dwcp-guest" : name->second, size_bytes, false));
    if (!is_incoming) {
      guest.workload.Initialize({Number(flags, "dirty-rate", 0), Number(flags, "working-set", 0),
                                 Number(flags, "zero-permille", 250)});
    }
    LetWritesBeTracked(*guest.region);
    if (!is_incoming) guest.workload.Resume();
    dwcp::guest::ServeControl(socket_path->second,
                              [&guest](const std::string& line) { return guest.Answer(line); });
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dwcp-guest: %s\n", error.what());
    return 1;
  }
  return 0;
}
