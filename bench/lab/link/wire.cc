#include "wire.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace dwcp::lab {
namespace {
constexpr size_t kSlotBytes = 2048;
constexpr size_t kSlots = 1 << 16;
/** Packets read before anything is delivered: the first must not wait for a flood behind it. */
constexpr int kBatch = 32;
constexpr int64_t kNsPerSec = 1'000'000'000;
constexpr int64_t kIdleNs = kNsPerSec;
/**
 * While packets flow they are handled this share of a round trip apart, several at once: waking up
 * for each costs more than carrying it.
 */
constexpr double kNapShare = 0.01;
constexpr int64_t kNapMinNs = 20'000;
constexpr int64_t kNapMaxNs = 250'000;

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kNsPerSec + now.tv_nsec;
}

/** Touched only as far as packets are under way at once. */
uint8_t* MapSlots() {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* map = mmap(nullptr, kSlots * kSlotBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (map == MAP_FAILED) perror("wan-link: packets"), abort();
  return static_cast<uint8_t*>(map);
}
}  // namespace

Wire::Wire(int from, int to, const Shape& shape, uint64_t seed)
    : from_(from),
      to_(to),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      slots_(MapSlots()),
      queue_(kSlots),
      shape_(shape),
      loss_(seed),
      jitter_(~seed) {
  // The slot given back last is taken first: it is still in the cache.
  for (uint32_t slot = kSlots; slot-- > 0;) free_slots_.push_back(slot);
  under_way_.reserve(kSlots);
  loss_.Reshape(shape);
}

Wire::~Wire() {
  munmap(slots_, kSlots * kSlotBytes);
  close(wake_);
}

void Wire::Run() {
  while (!stop_) {
    if (has_new_shape_.exchange(false)) TakeShape();
    const int64_t now_ns = NowNs();
    Transmit(now_ns);
    const int read = Read(now_ns);
    Transmit(now_ns);
    const int delivered = Deliver(now_ns);
    if (read == kBatch) continue;  // more may be waiting
    if (read + delivered > 0) {
      Nap();
    } else {
      Sleep();
    }
  }
}

void Wire::Stop() {
  stop_ = true;
  Wake();
}

void Wire::Reshape(const Shape& shape) {
  {
    std::lock_guard lock(new_shape_lock_);
    new_shape_ = shape;
  }
  has_new_shape_ = true;
  Wake();
}

void Wire::Wake() {
  const uint64_t one = 1;
  if (write(wake_, &one, sizeof one) < 0) return;  // full: it is awake
}

void Wire::TakeShape() {
  std::lock_guard lock(new_shape_lock_);
  shape_ = new_shape_;
  loss_.Reshape(shape_);
}

int Wire::Read(int64_t now_ns) {
  for (int i = 0; i < kBatch; ++i) {
    if (free_slots_.empty()) {
      uint8_t scrap[kSlotBytes];
      if (read(from_, scrap, sizeof scrap) < 0) return i;
      counters_.packets.Add(1);
      counters_.overruns.Add(1);
      continue;
    }
    const uint32_t slot = free_slots_.back();
    const ssize_t got = read(from_, slots_ + slot * kSlotBytes, kSlotBytes);
    if (got <= 0) return i;
    const auto bytes = uint32_t(got);
    counters_.packets.Add(1);
    counters_.bytes.Add(bytes);
    counters_.largest_packet_bytes.AtLeast(bytes);
    const uint64_t waiting = counters_.queue_bytes.Get() + bytes;
    if (waiting > shape_.queue_bytes && shape_.rate_bits_per_sec > 0) {
      counters_.queue_drops.Add(1);
      continue;
    }
    free_slots_.pop_back();
    counters_.queue_bytes.Set(waiting);
    counters_.queue_bytes_max.AtLeast(waiting);
    queue_[(queue_first_ + queue_length_++) % kSlots] = {now_ns, next_number_++, slot, bytes};
  }
  return kBatch;
}

int64_t Wire::WireTimeNs(uint32_t bytes) const {
  if (shape_.rate_bits_per_sec == 0) return 0;
  return int64_t(double(bytes) * 8e9 / double(shape_.rate_bits_per_sec));
}

double Wire::Steps(int64_t pause_ns) const {
  if (shape_.rate_bits_per_sec == 0) return 1;
  return double(pause_ns) / double(std::max<int64_t>(WireTimeNs(kMtu), 1));
}

int64_t Wire::LeavesAtNs(const Packet& packet) const {
  return std::max(packet.at_ns, wire_free_ns_) + WireTimeNs(packet.bytes);
}

void Wire::Transmit(int64_t now_ns) {
  while (queue_length_ > 0) {
    Packet packet = queue_[queue_first_];
    const int64_t leaves_ns = LeavesAtNs(packet);
    if (leaves_ns > now_ns) return;
    const int64_t pause_ns = leaves_ns - wire_free_ns_;
    wire_free_ns_ = leaves_ns;
    queue_first_ = (queue_first_ + 1) % kSlots;
    queue_length_ -= 1;
    counters_.queue_bytes.Set(counters_.queue_bytes.Get() - packet.bytes);
    // A lost packet took its time on the wire.
    const bool is_lost = loss_.IsLost(Steps(pause_ns));
    if (is_lost || shape_.cut) {
      (shape_.cut ? counters_.cut_drops : counters_.lost_packets).Add(1);
      if (is_lost && !lost_last_ && !shape_.cut) counters_.lost_runs.Add(1);
      lost_last_ = is_lost;
      free_slots_.push_back(packet.slot);
      continue;
    }
    lost_last_ = false;
    const double way_ms =
        (shape_.round_trip_ms + (shape_.jitter_ms > 0 ? shape_.jitter_ms * jitter_.Draw() : 0)) / 2;
    packet.at_ns = leaves_ns + int64_t(way_ms * 1e6);
    if (!shape_.reorder) packet.at_ns = std::max(packet.at_ns, last_due_ns_);
    last_due_ns_ = packet.at_ns;
    under_way_.push_back(packet);
    std::push_heap(under_way_.begin(), under_way_.end(), DueLater());
  }
}

int Wire::Deliver(int64_t now_ns) {
  int delivered = 0;
  while (!under_way_.empty() && under_way_.front().at_ns <= now_ns) {
    delivered += 1;
    const Packet packet = under_way_.front();
    std::pop_heap(under_way_.begin(), under_way_.end(), DueLater());
    under_way_.pop_back();
    const ssize_t put = write(to_, slots_ + packet.slot * kSlotBytes, packet.bytes);
    free_slots_.push_back(packet.slot);
    if (put < 0) {
      counters_.refused.Add(1);
      continue;
    }
    counters_.delivered_packets.Add(1);
    counters_.delivered_bytes.Add(packet.bytes);
    const auto late_us = uint64_t(now_ns - packet.at_ns) / 1000;
    counters_.late_us_sum.Add(late_us);
    counters_.late_us_max.AtLeast(late_us);
  }
  return delivered;
}

void Wire::Nap() {
  const auto share_ns = int64_t(shape_.round_trip_ms * 1e6 * kNapShare);
  const timespec nap{0, std::clamp(share_ns, kNapMinNs, kNapMaxNs)};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, nullptr);
}

void Wire::Sleep() {
  int64_t until_ns = INT64_MAX;
  if (!under_way_.empty()) {
    until_ns = under_way_.front().at_ns;
  }
  if (queue_length_ > 0) {
    // Order kept, nothing of the queue is due before what is under way.
    const int64_t leaves_ns = LeavesAtNs(queue_[queue_first_]);
    const int64_t due_ns = leaves_ns + int64_t(shape_.round_trip_ms * 0.5e6);
    if (under_way_.empty() || shape_.reorder) until_ns = std::min(until_ns, due_ns);
  }
  const int64_t wait_ns = std::clamp<int64_t>(until_ns - NowNs(), 0, kIdleNs);
  const timespec wait{wait_ns / kNsPerSec, wait_ns % kNsPerSec};
  pollfd polled[] = {{from_, POLLIN, 0}, {wake_, POLLIN, 0}};
  if (ppoll(polled, 2, &wait, nullptr) <= 0 || polled[1].revents == 0) return;
  uint64_t count;
  if (read(wake_, &count, sizeof count) < 0) return;  // nobody woke it meanwhile
}

}  // namespace dwcp::lab
