#include "link.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cstdio>
#include <sstream>

namespace dwcp::lab {
namespace {
constexpr char kAddressA[] = "10.213.79.1";
constexpr char kAddressB[] = "10.213.79.2";

/** The programs at the ends must not slow the wire down. Whether the kernel allows it. */
bool PreferThread(std::thread* thread) {
  const sched_param first{1};
  return pthread_setschedparam(thread->native_handle(), SCHED_RR, &first) == 0;
}

std::string Error(const std::string& message) {
  return R"({"type":"error","message":")" + message + "\"}";
}

void Append(std::ostringstream* out, const char* key, uint64_t value) {
  *out << ",\"" << key << "\":" << value;
}

std::string Describe(const Counters& counters, uint64_t device_drops) {
  std::ostringstream out;
  out << "{\"packets\":" << counters.packets.Get();
  Append(&out, "bytes", counters.bytes.Get());
  Append(&out, "deliveredPackets", counters.delivered_packets.Get());
  Append(&out, "deliveredBytes", counters.delivered_bytes.Get());
  Append(&out, "lostPackets", counters.lost_packets.Get());
  Append(&out, "lostRuns", counters.lost_runs.Get());
  Append(&out, "queueDrops", counters.queue_drops.Get());
  Append(&out, "cutDrops", counters.cut_drops.Get());
  Append(&out, "overruns", counters.overruns.Get());
  Append(&out, "refused", counters.refused.Get());
  Append(&out, "deviceDrops", device_drops);
  Append(&out, "largestPacketBytes", counters.largest_packet_bytes.Get());
  Append(&out, "queueBytes", counters.queue_bytes.Get());
  Append(&out, "queueBytesMax", counters.queue_bytes_max.Get());
  Append(&out, "lateUsSum", counters.late_us_sum.Get());
  Append(&out, "lateUsMax", counters.late_us_max.Get());
  out << '}';
  return out.str();
}

double CpuSeconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) { return time.tv_sec + time.tv_usec / 1e6; };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}
}  // namespace

Link::Link(int owner, const Shape& shape, uint64_t seed)
    : a_{HostName(owner, 'a'), kAddressA}, b_{HostName(owner, 'b'), kAddressB} {
  MakeHost(&a_);
  MakeHost(&b_);
  // The default slack of 50 us would show in every round trip; threads inherit it.
  prctl(PR_SET_TIMERSLACK, 1);
  ab_ = {shape, std::make_unique<Wire>(a_.device, b_.device, shape, 2 * seed), {}};
  ba_ = {shape, std::make_unique<Wire>(b_.device, a_.device, shape, 2 * seed + 1), {}};
  for (Direction* each : {&ab_, &ba_}) {
    each->thread = std::thread(&Wire::Run, each->wire.get());
    is_realtime_ = PreferThread(&each->thread) && is_realtime_;
  }
}

Link::~Link() {
  for (Direction* each : {&ab_, &ba_}) {
    each->wire->Stop();
    each->thread.join();
  }
}

std::string Link::Introduction() const {
  std::ostringstream out;
  const auto host = [&](const char* key, const Host& host) {
    out << ",\"" << key << R"(":{"namespace":")" << host.name << R"(","address":")" << host.address
        << "\"}";
  };
  out << R"({"type":"ready")";
  host("a", a_);
  host("b", b_);
  out << ",\"realtime\":" << (is_realtime_ ? "true" : "false") << '}';
  return out.str();
}

std::string Link::Obey(const std::string& command) {
  std::istringstream in(command);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  if (!words.empty() && words[0] == "set") return Set(words);
  if (words.size() == 1 && words[0] == "stats") return Statistics();
  return Error("commands are: set [ab|ba] KEY=VALUE..., stats");
}

/** All of it or nothing. */
std::string Link::Set(const std::vector<std::string>& words) {
  size_t at = 1;
  std::vector<Direction*> chosen = {&ab_, &ba_};
  if (words.size() > 1 && (words[1] == "ab" || words[1] == "ba")) {
    chosen = {words[1] == "ab" ? &ab_ : &ba_};
    at = 2;
  }
  std::vector<Shape> shapes;
  for (const Direction* direction : chosen) {
    Shape shape = direction->shape;
    std::string problem;
    for (size_t i = at; i < words.size() && problem.empty(); ++i) {
      problem = SetKey(words[i], &shape);
    }
    if (problem.empty()) problem = Contradiction(shape);
    if (!problem.empty()) return Error(problem);
    shapes.push_back(shape);
  }
  for (size_t i = 0; i < chosen.size(); ++i) {
    chosen[i]->shape = shapes[i];
    chosen[i]->wire->Reshape(shapes[i]);
  }
  return R"({"type":"ok"})";
}

std::string Link::Statistics() const {
  std::ostringstream out;
  out << R"({"type":"stats","ab":)" << Describe(ab_.wire->counters(), DeviceDrops(a_))
      << ",\"ba\":" << Describe(ba_.wire->counters(), DeviceDrops(b_))
      << ",\"cpuSeconds\":" << CpuSeconds() << '}';
  return out.str();
}

}  // namespace dwcp::lab
