// The whole user space of the Linux guest: /init of its initramfs, a static program.
//
// It fills most of RAM with pages that do not compress, then counts on the serial port about 50
// times a second:
//     tick 0000002a 1234        count in hex, the guest's own monotonic milliseconds
// While it counts it dirties pages at a set rate and checks what it wrote before. `BAD ...` is
// printed when memory is not what was written: a page lost or stale after a migration shows here,
// not only in a checksum outside. Kernel command line: dwcp.fill=PERCENT of RAM,
// dwcp.dirty=BYTES_PER_SEC of distinct pages, dwcp.seed=NUMBER.
#include <sys/mman.h>

#include <cstring>

#include "guest.h"

namespace {

using dwcp::guest::give_up;
using dwcp::guest::now_ns;
using dwcp::guest::number_after;
using dwcp::guest::open_serial;
using dwcp::guest::say;
using dwcp::guest::text_of;

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kPageWords = kPageBytes / sizeof(uint64_t);
constexpr uint64_t kTickNs = 20'000'000;
/// The kernel keeps this much to live on; without it an allocation of its own ends in a panic.
constexpr uint64_t kReserveBytes = 6ULL << 20;
/// Whole pages whose content is checked per tick: little beside 20 ms, and every page comes up in
/// time.
constexpr uint64_t kPagesCheckedPerTick = 8;
/// A late tick does not make up for more than this much dirtying.
constexpr uint64_t kCatchUpMaxNs = 200'000'000;

/// What the machine has, holes excluded; /proc/meminfo would leave out what the kernel took for
/// itself.
uint64_t ram_bytes() {
  uint64_t total = 0;
  const std::string map = text_of("/proc/iomem");
  for (size_t from = 0; from < map.size();) {
    const size_t end = std::min(map.find('\n', from), map.size());
    const std::string line = map.substr(from, end - from);
    unsigned long long first = 0;
    unsigned long long last = 0;
    const bool is_range = sscanf(line.c_str(), "%llx-%llx", &first, &last) == 2;
    if (is_range && line.find(" : System RAM") != std::string::npos) total += last - first + 1;
    from = end + 1;
  }
  return total;
}

void sleep_until(uint64_t at_ns) {
  const timespec at{static_cast<time_t>(at_ns / 1'000'000'000),
                    static_cast<long>(at_ns % 1'000'000'000)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) != 0) {
  }
}

uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

/// Word 0 of a page says how often it was dirtied; the rest stays as filled. Both follow from the
/// seed, so nothing beside the pages has to be kept to check them.
class Pages {
 public:
  Pages(uint64_t count, uint64_t seed) : count_(count), seed_(seed) {
    void* memory = mmap(nullptr, count * kPageBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) give_up("no memory to fill");
    words_ = static_cast<uint64_t*>(memory);
    for (uint64_t page = 0; page < count; ++page) fill(page);
    // Prime to the count, so that a lap meets each page once, far from its neighbour of before.
    for (stride_ = count / 2 + count / 7 + 1; has_common_divisor(stride_, count);) ++stride_;
  }

  /// Next page of the lap; it must hold what the lap before left there.
  void dirty_next() {
    uint64_t& word = words_[next_ * kPageWords];
    if (word != stamp(next_, lap_)) bad_ = next_;
    word = stamp(next_, lap_ + 1);
    next_ = (next_ + stride_) % count_;
    ++dirtied_;
    if (next_ == 0) ++lap_;
  }

  void check_some() {
    for (uint64_t turn = 0; turn < kPagesCheckedPerTick; ++turn) {
      check(checked_);
      checked_ = (checked_ + 1) % count_;
    }
  }

  /// A page that was not as written, told once; UINT64_MAX when all is well.
  uint64_t take_bad() {
    const uint64_t page = bad_;
    bad_ = UINT64_MAX;
    return page;
  }

  uint64_t dirtied() const { return dirtied_; }

 private:
  uint64_t stamp(uint64_t page, uint64_t times) const {
    return mix(seed_ + page * 0x9e3779b97f4a7c15 + times) | 1;
  }

  uint64_t first_of(uint64_t page) const { return mix(~seed_ ^ (page << 20)) | 1; }

  static uint64_t after(uint64_t state) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^ (state << 17);
  }

  void fill(uint64_t page) {
    uint64_t* words = words_ + page * kPageWords;
    words[0] = stamp(page, 0);
    uint64_t state = first_of(page);
    for (uint64_t index = 1; index < kPageWords; ++index) words[index] = state = after(state);
  }

  void check(uint64_t page) {
    const uint64_t* words = words_ + page * kPageWords;
    uint64_t state = first_of(page);
    uint64_t differs = 0;
    for (uint64_t index = 1; index < kPageWords; ++index) {
      state = after(state);
      differs |= words[index] ^ state;
    }
    if (differs != 0) bad_ = page;
  }

  static bool has_common_divisor(uint64_t left, uint64_t right) {
    while (right != 0) {
      const uint64_t rest = left % right;
      left = right;
      right = rest;
    }
    return left != 1;
  }

  uint64_t count_;
  uint64_t seed_;
  uint64_t* words_ = nullptr;
  uint64_t stride_ = 1;
  uint64_t next_ = 0;
  uint64_t lap_ = 0;
  uint64_t dirtied_ = 0;
  uint64_t checked_ = 0;
  uint64_t bad_ = UINT64_MAX;
};

/// One link per tick, each made of the one before: a tick that was lost, repeated or rewound breaks
/// it.
class Chain {
 public:
  bool advance(uint64_t tick) {
    bool holds = true;
    const uint64_t from = tick > kLinks ? tick - kLinks + 1 : 1;
    for (uint64_t at = from; at < tick; ++at) {
      holds &= links_[at % kLinks] == mix(links_[(at - 1) % kLinks] + at) || at == from;
    }
    links_[tick % kLinks] = mix(links_[(tick - 1) % kLinks] + tick);
    return holds;
  }

 private:
  static constexpr uint64_t kLinks = 64;
  std::array<uint64_t, kLinks> links_{};
};

[[noreturn]] void count_forever(Pages& pages, uint64_t dirty_bytes_per_sec) {
  Chain chain;
  uint64_t due_ns = now_ns();
  uint64_t last_ns = due_ns;
  double owed_pages = 0;
  for (uint64_t tick = 1;; ++tick) {
    const uint64_t at_ns = now_ns();
    if (!chain.advance(tick)) say("BAD chain %08llx\n", static_cast<unsigned long long>(tick));
    pages.check_some();
    const uint64_t passed_ns = std::min(at_ns - last_ns, kCatchUpMaxNs);
    last_ns = at_ns;
    owed_pages += static_cast<double>(dirty_bytes_per_sec) / kPageBytes *
                  (static_cast<double>(passed_ns) / 1e9);
    for (; owed_pages >= 1; owed_pages -= 1) pages.dirty_next();
    const uint64_t bad = pages.take_bad();
    if (bad != UINT64_MAX) say("BAD page %llu\n", static_cast<unsigned long long>(bad));
    say("tick %08llx %llu\n", static_cast<unsigned long long>(tick & 0xffffffff),
        static_cast<unsigned long long>(at_ns / 1'000'000));
    if (tick % 50 == 0) {
      say("dirtied %llu\n", static_cast<unsigned long long>(pages.dirtied() * kPageBytes));
    }
    due_ns = std::max(due_ns + kTickNs, now_ns());
    sleep_until(due_ns);
  }
}

}  // namespace

int main() {
  open_serial();
  say("ready\n");
  const std::string asked = text_of("/proc/cmdline");
  const uint64_t ram = ram_bytes();
  const uint64_t percent = std::min<uint64_t>(number_after(asked, "dwcp.fill=", 78), 100);
  const uint64_t available = number_after(text_of("/proc/meminfo"), "MemAvailable:", 0) * 1024;
  const uint64_t room = available > kReserveBytes ? available - kReserveBytes : kPageBytes;
  const uint64_t fill = std::min(ram / 100 * percent, room);
  Pages pages(std::max<uint64_t>(fill / kPageBytes, 2), number_after(asked, "dwcp.seed=", 1));
  say("filled %llu of %llu\n", static_cast<unsigned long long>(fill),
      static_cast<unsigned long long>(ram));
  count_forever(pages, number_after(asked, "dwcp.dirty=", 4 << 20));
}
