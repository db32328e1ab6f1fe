// Both ends of a QEMU stream whose pages travel apart, with everybody who talks to them played
// here: a QEMU that writes, one that waits, and the carried stream between the ends. Bytes are cut
// and damaged, connections die at any time, and the ends are asked for things meanwhile. Nothing
// may break, and an end that failed must rest until it is closed. Built with sanitizers by
// scripts/sanitize.mjs. Usage: qemu_relay_faults SECONDS [SEED]
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <random>

#include "engine/local_socket.h"
#include "qemu/source.h"
#include "qemu/stream_format.h"
#include "qemu/target.h"

namespace {

using dwcp::PageDigest;
using dwcp::PageSet;
using dwcp::Region;
using dwcp::qemu::ByteOutput;
using dwcp::qemu::Source;
using dwcp::qemu::Target;
using namespace dwcp::qemu;
using Random = std::mt19937_64;

constexpr uint64_t kPages = 512;
constexpr int kSteps = 200;
constexpr size_t kPiece = 64 * 1024;

// A guest of one block, written in `rounds` passes: pages, zeros, then devices.
std::vector<uint8_t> Stream(Random* random, int rounds) {
  ByteOutput out;
  out.Be32(kFileMagic);
  out.Be32(kFileVersion);
  out.U8(kTypeSectionStart);
  out.Be32(2);
  out.Str8("ram");
  out.Be32(0);
  out.Be32(kRamVersion);
  out.Be64(kPages * dwcp::kPageBytes | kFlagRamSize);
  out.Str8("pc.ram");
  out.Be64(kPages * dwcp::kPageBytes);
  const auto end = [&out] {
    out.Be64(kFlagEndOfRecords);
    out.U8(kTypeFooter);
    out.Be32(2);
  };
  end();
  for (int round = 1; round <= rounds; round++) {
    out.U8(round == rounds ? kTypeSectionEnd : kTypeSectionPart);
    out.Be32(2);
    for (int i = 0; i < 40; i++) {
      const bool zero = (*random)() % 3 == 0;
      const uint64_t offset = (*random)() % kPages * dwcp::kPageBytes;
      out.Be64(offset | (zero ? kFlagZero : kFlagPage));
      out.Str8("pc.ram");
      if (zero) out.U8(0);
      if (!zero) out.bytes.insert(out.bytes.end(), dwcp::kPageBytes, static_cast<uint8_t>(i));
    }
    end();
  }
  out.bytes.insert(out.bytes.end(), 3000, 0xdd);
  return out.bytes;
}

// One side of a connection, or nothing yet.
struct End {
  int fd = -1;
  void Close() {
    if (fd >= 0) close(fd);
    fd = -1;
  }
  void Accept(int listener) {
    if (fd < 0) fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  }
  size_t Write(const uint8_t* bytes, size_t count) const {
    if (fd < 0 || count == 0) return 0;
    const ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? static_cast<size_t>(sent) : 0;
  }
  std::vector<uint8_t> Read(size_t count) const {
    std::vector<uint8_t> bytes(count);
    const ssize_t got = fd < 0 ? 0 : recv(fd, bytes.data(), count, MSG_DONTWAIT);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
  }
};

double CpuSeconds() {
  timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

struct Tally {
  uint64_t rounds = 0, failed = 0, loaded = 0, passed = 0, rests = 0;
};

void Round(const std::string& folder, uint64_t seed, Tally* tally) {
  Random random(seed);
  const auto one_in = [&random](uint64_t n) { return random() % n == 0; };
  const std::string control_path = folder + "/control", out_path = folder + "/out";
  const std::string in_path = folder + "/in", carried_path = folder + "/carried";
  const int control_listener = dwcp::ListenLocal(control_path);
  const int qemu_listener = dwcp::ListenLocal(in_path);
  const uint64_t size = kPages * dwcp::kPageBytes;
  auto shadow = Region::Create("shadow", size, false);
  auto staging = Region::Create("staging", size, false);
  std::vector<PageDigest> fed(kPages, ~PageDigest{0});
  PageSet dirty(kPages);
  std::vector<uint8_t> stream = Stream(&random, 1 + static_cast<int>(random() % 4));
  if (one_in(3)) stream[random() % stream.size()] ^= 1 << random() % 8;
  if (one_in(8)) stream[random() % 16] ^= 1;
  if (one_in(6)) stream.resize(random() % stream.size());
  size_t written = 0;
  bool ram_ended = false, finished = false, failed = false;
  std::vector<uint8_t> on_its_way;
  {
    Source source([] {}, shadow, out_path, control_path, 64 * dwcp::kPageBytes);
    Target target([] {}, staging, fed.data(), carried_path, in_path);
    End control, waiting, writing{dwcp::ConnectLocal(out_path)};
    End carried{dwcp::ConnectLocal(carried_path)};
    for (int step = 0; step < kSteps; step++) {
      control.Accept(control_listener);
      waiting.Accept(qemu_listener);
      const size_t piece = 1 + random() % kPiece;
      written += writing.Write(stream.data() + written, std::min(piece, stream.size() - written));
      if (written == stream.size() && writing.fd >= 0) shutdown(writing.fd, SHUT_WR);
      const std::vector<uint8_t> more = control.Read(piece);
      on_its_way.insert(on_its_way.end(), more.begin(), more.end());
      if (!on_its_way.empty() && one_in(200)) on_its_way[random() % on_its_way.size()] ^= 0x40;
      const size_t sent = carried.Write(on_its_way.data(), on_its_way.size());
      on_its_way.erase(on_its_way.begin(), on_its_way.begin() + static_cast<ptrdiff_t>(sent));
      if (one_in(2)) waiting.Read(piece);
      if (one_in(8)) waiting.Write(stream.data(), piece % 100);
      if (one_in(8)) control.Write(stream.data(), piece % 100);
      source.SetReading(!one_in(10));
      source.TakeDirty(&dirty);
      if (one_in(4)) source.EndRound();
      std::vector<uint32_t> pages;
      for (uint64_t i = random() % 20; i > 0; i--) {
        pages.push_back(static_cast<uint32_t>(random() % (kPages + 8)));
      }
      if (ram_ended && !finished) {
        finished = true;
        std::vector<uint32_t> all(kPages);
        for (uint32_t page = 0; page < kPages; page++) all[page] = page;
        target.Finish(all, {});
      } else if (!finished) {
        target.Feed(pages, {0, 1, 2});
      }
      for (const RelayEvent& event : source.TakeEvents()) {
        if (!strcmp(event.type, "ramEnded")) source.Release();
        tally->passed += !strcmp(event.type, "passThrough");
        failed = failed || !strcmp(event.type, "failed");
      }
      for (const RelayEvent& event : target.TakeEvents()) {
        ram_ended = ram_ended || !strcmp(event.type, "ramEnded");
        failed = failed || !strcmp(event.type, "failed");
      }
      if (one_in(900)) control.Close();
      if (one_in(900)) waiting.Close();
      if (one_in(900)) writing.Close();
      if (one_in(900)) carried.Close();
      usleep(random() % 200);
    }
    tally->failed += failed;
    tally->loaded += finished;
    if (one_in(16)) {
      usleep(20000);
      const double before = CpuSeconds();
      usleep(100000);
      tally->rests++;
      if (CpuSeconds() - before > 0.02) {
        fprintf(stderr, "qemu_relay_faults: it does not rest (seed %llu)\n",
                static_cast<unsigned long long>(seed));
        abort();
      }
    }
    for (End* end : {&control, &waiting, &writing, &carried}) end->Close();
  }
  close(control_listener);
  close(qemu_listener);
  for (const std::string& path : {control_path, in_path}) unlink(path.c_str());
  tally->rounds++;
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  const int seconds = argc > 1 ? atoi(argv[1]) : 10;
  uint64_t seed = argc > 2 ? strtoull(argv[2], nullptr, 10) : std::random_device{}();
  char folder[] = "/tmp/dwcp-relay-XXXXXX";
  if (mkdtemp(folder) == nullptr) return 1;
  Tally tally;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (std::chrono::steady_clock::now() < until) Round(folder, seed++, &tally);
  rmdir(folder);
  printf(
      "rounds=%llu failed=%llu loaded=%llu passed_through=%llu rested=%llu last_seed=%llu\n",
      static_cast<unsigned long long>(tally.rounds), static_cast<unsigned long long>(tally.failed),
      static_cast<unsigned long long>(tally.loaded), static_cast<unsigned long long>(tally.passed),
      static_cast<unsigned long long>(tally.rests), static_cast<unsigned long long>(seed - 1));
}
