#include "shape.h"

#include <cmath>
#include <cstdlib>

namespace dwcp::lab {
namespace {
constexpr double kRateMax = 100e9;
constexpr double kTimeMaxMs = 10'000;
constexpr double kBurstMax = 10'000;
constexpr double kQueueMin = 3'000;
constexpr double kQueueMax = 256 << 20;

bool Number(const std::string& text, double min, double max, double* value) {
  char* end = nullptr;
  *value = strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && std::isfinite(*value) && *value >= min && *value <= max;
}
}  // namespace

std::string SetKey(const std::string& text, Shape* shape) {
  const size_t at = text.find('=');
  if (at == std::string::npos) return "not key=value: " + text;
  const std::string key = text.substr(0, at);
  const std::string said = text.substr(at + 1);
  double value = 0;
  bool ok = false;
  if (key == "rateBitsPerSec") {
    if ((ok = Number(said, 0, kRateMax, &value))) shape->rate_bits_per_sec = uint64_t(value);
  } else if (key == "roundTripMs") {
    if ((ok = Number(said, 0, kTimeMaxMs, &value))) shape->round_trip_ms = value;
  } else if (key == "jitterMs") {
    if ((ok = Number(said, 0, kTimeMaxMs, &value))) shape->jitter_ms = value;
  } else if (key == "lossPercent") {
    if ((ok = Number(said, 0, 100, &value))) shape->loss_percent = value;
  } else if (key == "burstPackets") {
    if ((ok = Number(said, 1, kBurstMax, &value))) shape->burst_packets = value;
  } else if (key == "badLossPercent") {
    if ((ok = Number(said, 0.001, 100, &value))) shape->bad_loss_percent = value;
  } else if (key == "queueBytes") {
    if ((ok = Number(said, kQueueMin, kQueueMax, &value))) shape->queue_bytes = uint64_t(value);
  } else if (key == "reorder") {
    if ((ok = Number(said, 0, 1, &value))) shape->reorder = value != 0;
  } else if (key == "cut") {
    if ((ok = Number(said, 0, 1, &value))) shape->cut = value != 0;
  } else {
    return "no such key: " + key;
  }
  return ok ? "" : "out of range: " + text;
}

std::string Contradiction(const Shape& shape) {
  if (shape.burst_packets == 1 || shape.loss_percent == 0) return "";
  if (shape.loss_percent >= shape.bad_loss_percent) {
    return "lossPercent has to be below badLossPercent when losses come in bursts";
  }
  const double bad_share = shape.loss_percent / shape.bad_loss_percent;
  if (bad_share / (1 - bad_share) > shape.burst_packets) {
    return "burstPackets is too small for so much loss";
  }
  return "";
}

}  // namespace dwcp::lab
