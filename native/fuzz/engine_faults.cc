// Two real engines on loopback move regions and byte streams while their streams are killed and
// strangers, some of them joined, send damaged frames. Every page and byte must arrive.
// Built with sanitizers by scripts/sanitize.mjs. Usage: engine_faults SECONDS [SEED]
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <thread>

#include "engine/engine.h"
#include "engine/local_socket.h"
#include "fuzz/caches.h"
#include "fuzz/memory_content.h"

namespace {

using dwcp::Cache;
using dwcp::Caches;
using dwcp::Engine;
using dwcp::Event;
using dwcp::FrameHeader;
using dwcp::FrameType;
using dwcp::kHeaderBytes;
using dwcp::kPageBytes;
using Random = std::mt19937_64;

constexpr uint64_t kRoundMaxUs = 10000000;
constexpr size_t kIoThreads = 2, kEncodeThreads = 2;
// So many rounds in a row move contents that are partly the same.
constexpr uint64_t kAlike = 16;

[[noreturn]] void Die(const std::string& what, uint64_t seed) {
  fprintf(stderr, "engine_faults: %s (seed %llu)\n", what.c_str(),
          static_cast<unsigned long long>(seed));
  abort();
}

struct Tally {
  uint64_t rounds = 0, kills = 0, hostile = 0, reinjected = 0, refused = 0, corrupt = 0;
  uint64_t sealed = 0, resealed = 0, forged = 0, replayed = 0;
  uint64_t deltas = 0, compressed = 0, damaged = 0, known = 0, unknown = 0;
  uint64_t cached = 0, duplicates = 0;
};

// A hostile connection: blocking, with a time-out so that the engine can never hold us.
class Stranger {
 public:
  explicit Stranger(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval limit{0, 200000};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) Shut();
  }
  Stranger(Stranger&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Stranger& operator=(Stranger&&) = delete;
  ~Stranger() { Shut(); }

  void Send(const std::vector<uint8_t>& bytes) {
    if (fd_ >= 0 && send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) Shut();
  }
  void Join() {
    uint8_t challenge[kHeaderBytes + dwcp::kChallengeBytes];
    if (recv(fd_, challenge, sizeof challenge, MSG_WAITALL) < 0) return;
    FrameHeader join{};
    join.type = FrameType::kJoin;
    Send(Frame(join, {}));
  }
  static std::vector<uint8_t> Frame(FrameHeader header, const std::vector<uint8_t>& body) {
    header.body_bytes = static_cast<uint32_t>(body.size());
    std::vector<uint8_t> frame(kHeaderBytes + body.size());
    dwcp::WriteHeader(frame.data(), header);
    std::copy(body.begin(), body.end(), frame.begin() + kHeaderBytes);
    dwcp::PatchTag(frame.data(),
                   dwcp::Crc32c(dwcp::HeaderCrc(frame.data()), body.data(), body.size()));
    return frame;
  }

 private:
  void Shut() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  int fd_;
};

// What a joined peer may send and must never get away with.
std::vector<uint8_t> DamagedFrame(Random& random, dwcp::TransferName name, uint64_t page_count) {
  FrameHeader header{};
  header.transfer_id = name.id;
  header.epoch = name.epoch;
  header.seq = 1 + random() % 2000;
  if (random() % 6 == 0) {
    // What a cache holds, as noise, or as a list that makes sense and is a lie.
    header.type = FrameType::kContent;
    header.raw_bytes = static_cast<uint32_t>(random() % 4);
    header.seq = random() % 3;
    std::vector<uint8_t> piece(random() % 1100, static_cast<uint8_t>(random() % 3));
    for (uint8_t& byte : piece) byte ^= static_cast<uint8_t>(random() % 64 == 0 ? random() : 0);
    return Stranger::Frame(header, piece);
  }
  if (random() % 4 == 0) {
    header.type = FrameType::kAck;
    header.seq = random() % 2 == 0 ? ~uint64_t{0} - random() % 4 : 100000;
    header.credit = random();
    return Stranger::Frame(header, std::vector<uint8_t>(random() % 17 * 8, 0xff));
  }
  header.type = FrameType::kChunkPages;
  header.map_entries = 1 + random() % 3;
  std::vector<dwcp::MapEntry> map(header.map_entries);
  uint32_t payload_pages = 0;
  for (uint32_t i = 0; i < header.map_entries; i++) {
    map[i] = {static_cast<uint32_t>(i * 8), static_cast<uint32_t>(1 + random() % 4)};
    payload_pages += map[i].count();
  }
  header.raw_bytes = header.encoded_bytes = payload_pages * kPageBytes;
  const uint64_t kind = random() % 10;
  if (kind == 0) map.back().first_page = static_cast<uint32_t>(page_count + random() % 2);
  if (kind == 1) map.back() = {0xffffffffu, 0x7fffffffu};
  if (kind == 2) map.back().count_and_zero |= 0x80000000u;
  if (kind == 3) header.raw_bytes = header.encoded_bytes = header.encoded_bytes - kPageBytes;
  if (kind == 4) header.seq = random() % 2 == 0 ? 0 : 1000000;
  // Names without a payload to match, codecs of noise, and a bomb's promise.
  if (kind == 7) map[0].count_and_zero |= static_cast<uint32_t>(1 + random() % 2) << 28;
  if (kind == 8) header.flags = static_cast<uint32_t>(1 + random() % 4) << dwcp::kCodecShift;
  if (kind == 9) header.raw_bytes = dwcp::kChunkBytesMax - random() % 2 * kPageBytes;
  std::vector<uint8_t> body(map.size() * sizeof map[0] + payload_pages * kPageBytes, 0xee);
  std::memcpy(body.data(), map.data(), map.size() * sizeof map[0]);
  std::vector<uint8_t> frame = Stranger::Frame(header, body);
  if (kind == 5) frame[kHeaderBytes + random() % body.size()] ^= 1u << random() % 8;
  if (kind == 6) frame[random() % kHeaderBytes] ^= 1u << random() % 8;
  if (random() % 4 == 0) frame.resize(random() % frame.size());
  return frame;
}

// One engine and what it told us.
class Side {
 public:
  Side() : engine_(std::make_unique<Engine>([] {}, kIoThreads, kEncodeThreads)) {}
  Engine* operator->() { return engine_.get(); }
  Engine* get() { return engine_.get(); }
  std::set<int> streams;  // attached ones

 private:
  std::unique_ptr<Engine> engine_;
};

// A byte stream: one thread writes into the source's socket, one reads from the target's.
class ByteEnds {
 public:
  ByteEnds(const std::string& folder, uint64_t seed, size_t bytes)
      : in_path(folder + "/in"), out_path(folder + "/out"), seed_(seed), bytes_(bytes) {
    unlink(in_path.c_str());
    unlink(out_path.c_str());
    sink_listener_ = dwcp::ListenLocal(out_path);
    if (sink_listener_ < 0) Die("no local listener", seed);
  }
  void Start() {
    threads_.emplace_back([this] { Feed(); });
    threads_.emplace_back([this] { Drain(); });
  }
  bool Finish() {
    for (std::thread& thread : threads_) thread.join();
    return equal_;
  }
  const std::string in_path, out_path;

 private:
  void Feed() {
    const int fd = dwcp::ConnectLocal(in_path);
    if (fd < 0) Die("cannot connect the byte sender", seed_);
    Random random(seed_);
    std::vector<uint64_t> block(512);
    for (size_t sent = 0; sent < bytes_; sent += block.size() * 8) {
      for (uint64_t& word : block) word = random();
      const auto* bytes = reinterpret_cast<const uint8_t*>(block.data());
      for (size_t done = 0; done < block.size() * 8;) {
        pollfd ready{fd, POLLOUT, 0};
        poll(&ready, 1, 1000);
        const ssize_t count = send(fd, bytes + done, block.size() * 8 - done, MSG_NOSIGNAL);
        if (count < 0 && errno != EAGAIN) Die("the byte sender hung up", seed_);
        if (count > 0) done += static_cast<size_t>(count);
      }
    }
    close(fd);
  }
  void Drain() {
    pollfd ready{sink_listener_, POLLIN, 0};
    poll(&ready, 1, 30000);
    const int fd = accept4(sink_listener_, nullptr, nullptr, SOCK_CLOEXEC);
    close(sink_listener_);
    Random random(seed_);
    size_t got = 0;
    uint64_t word;
    while (recv(fd, &word, sizeof word, MSG_WAITALL) == static_cast<ssize_t>(sizeof word)) {
      if (word != random()) Die("a carried byte stream differs", seed_);
      got += sizeof word;
    }
    close(fd);
    equal_ = got == bytes_;
  }

  uint64_t seed_;
  size_t bytes_;
  int sink_listener_;
  bool equal_ = false;
  std::vector<std::thread> threads_;
};

class Round {
 public:
  Round(Side& listening, Side& dialling, Caches& caches, int port, uint64_t seed, Tally& tally)
      : listening_(listening),
        dialling_(dialling),
        caches_(caches),
        port_(port),
        seed_(seed),
        random_(seed),
        tally_(tally) {}

  void Run(const std::string& folder) {
    const uint64_t pages = 64 + random_() % 1024;
    const uint32_t chunk_bytes = 65536u << random_() % 3;
    const uint64_t window_bytes = random_() % 4 == 0 ? 65536 : 1u << 20;
    const bool backwards = random_() % 2 == 0;
    const bool with_bytes = random_() % 2 == 0;
    wanted_streams_ = 1 + random_() % 5;
    kills_ = random_() % 6;
    hostile_ = random_() % 6;
    auto from = dwcp::Region::Create("from", pages * kPageBytes, false);
    auto to = dwcp::Region::Create("to", pages * kPageBytes, false);
    Fill(from.get(), to.get());
    Side& source = backwards ? listening_ : dialling_;
    Side& target = backwards ? dialling_ : listening_;
    listening_link_ = Open(listening_, window_bytes, chunk_bytes);
    dialling_link_ = Open(dialling_, window_bytes, chunk_bytes);
    sealed_ = random_() % 2 == 0;
    if (sealed_) Rekey();
    rekeys_ = sealed_ ? random_() % 3 : 0;
    const int source_link = backwards ? listening_link_ : dialling_link_;
    const int target_link = backwards ? dialling_link_ : listening_link_;
    const bool cached = random_() % 3 == 0;
    if (cached) {
      ShareContent(listening_, listening_link_, caches_.listening);
      ShareContent(dialling_, dialling_link_, caches_.dialling);
    }
    name_ = {seed_, 1};
    page_count_ = pages;
    {
      Engine::Guard guard(target.get());
      const int handle = target->NextHandle();
      target->link(target_link)
          ->AddReceiver(std::make_unique<dwcp::PageReceiver>(target->link(target_link), handle,
                                                             name_, window_bytes, to));
    }
    const auto content = std::make_shared<dwcp::MemoryContent>();
    const bool with_content = !cached && random_() % 2 == 0;
    if (with_content) {
      for (uint64_t page = 0; page < pages; page++) {
        if (random_() % 4 == 0) content->Learn(from->page(page), random_() % 8 != 0);
      }
      Engine::Guard guard(target.get());
      target->link(target_link)->content().Set(nullptr, content);
    }
    const size_t batches = 1 + random_() % 4;
    dwcp::PageSender* sender_end;
    dwcp::PageSet all(pages);
    all.AddAll();
    {
      Engine::Guard guard(source.get());
      dwcp::Link* link = source->link(source_link);
      const int handle = source->NextHandle();
      auto sender = std::make_unique<dwcp::PageSender>(link, handle, name_, window_bytes, from);
      sender_end = sender.get();
      link->SetCodecPolicy(DrawPolicy());
      if (with_content) link->content().Set(content, nullptr);
      if (random_() % 5 == 0) {
        sender->UsePolicy({dwcp::CodecPolicy::Kind::kFixed, {dwcp::Codec::kZstd, 3}, 0});
        sender->UseOneStream();
      }
      link->AddSender(std::move(sender));
      sender_end->Send(all);
    }
    std::unique_ptr<ByteEnds> bytes;
    if (with_bytes) bytes = Carry(source, target, source_link, target_link, window_bytes, folder);
    const uint64_t end_us = Engine::NowUs() + kRoundMaxUs;
    size_t sent_batches = 1;
    while (acked_batches_ < batches || (with_bytes && !drained_)) {
      if (acked_batches_ == sent_batches && sent_batches < batches) {
        Edit(from.get(), to.get());
        Engine::Guard guard(source.get());
        if (random_() % 3 == 0) source->link(source_link)->SetCodecPolicy(DrawPolicy());
        sender_end->Send(all);
        sent_batches++;
      }
      if (Engine::NowUs() > end_us) Die("both sides wait: " + Describe(with_bytes), seed_);
      Listen();
      Dial();
      Harm();
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    if (bytes != nullptr && !bytes->Finish()) Die("a carried byte stream lost its end", seed_);
    if (std::memcmp(from->data(), to->data(), pages * kPageBytes) != 0)
      Die("memory differs", seed_);
    Count(source, source_link, target, target_link);
    {
      Engine::Guard guard(source.get());
      const dwcp::SendCounters counters = sender_end->counters();
      tally_.deltas += counters.delta_pages;
      tally_.compressed += counters.compressed_pages;
      tally_.duplicates += counters.duplicate_pages;
      tally_.known += content->served;
      tally_.unknown += content->refused;
      if (counters.pending_pages != 0) Die("pages are pending at the end", seed_);
    }
    Close(listening_, listening_link_);
    Close(dialling_, dialling_link_);
    if (cached) (backwards ? caches_.dialling : caches_.listening).Keep(to);
    tally_.rounds++;
  }

 private:
  void Fill(dwcp::Region* from, dwcp::Region* to) {
    for (uint64_t page = 0; page < from->page_count(); page++) {
      std::memset(to->page(page), 0x55, kPageBytes);
      if (page % 5 == 0) continue;
      auto* words = reinterpret_cast<uint64_t*>(from->page(page));
      // Some compress, some do not.
      for (size_t i = 0; i < kPageBytes / 8; i++) {
        words[i] = page % 3 == 0 ? random_() : page * 512 + i + seed_ / kAlike;
      }
    }
  }
  // Between batches: a little in most pages, all of some, and now and then a base goes bad.
  void Edit(dwcp::Region* from, dwcp::Region* to) {
    const uint64_t wrong = random_() % 3 == 0 ? random_() % 8 : 0;
    for (uint64_t i = 0; i < wrong; i++) {
      to->page(random_() % to->page_count())[random_() % kPageBytes] ^= 1;
      tally_.damaged++;
    }
    for (uint64_t page = 0; page < from->page_count(); page++) {
      auto* words = reinterpret_cast<uint64_t*>(from->page(page));
      const uint64_t kind = random_() % 16;
      if (kind == 0) std::memset(words, 0, kPageBytes);
      if (kind == 15) std::memmove(words, from->page(random_() % from->page_count()), kPageBytes);
      const size_t edits = kind == 1 ? 512 : kind < 12 ? random_() % 40 : 0;
      for (size_t i = 0; i < edits; i++) words[random_() % 512] ^= random_();
    }
  }
  dwcp::CodecPolicy DrawPolicy() {
    using Kind = dwcp::CodecPolicy::Kind;
    const uint64_t kind = random_() % 4;
    if (kind == 0) return {};
    if (kind == 1) return {Kind::kFixed, {dwcp::Codec::kLz4, 1}, 0};
    if (kind == 2) return {Kind::kFixed, {dwcp::Codec::kZstd, static_cast<int>(random_() % 6)}, 0};
    return {Kind::kAdaptive, {}, random_() % 2 == 0 ? 1u << 20 : 64u << 20};
  }
  std::unique_ptr<ByteEnds> Carry(Side& source, Side& target, int source_link, int target_link,
                                  uint64_t window_bytes, const std::string& folder) {
    const dwcp::TransferName name{seed_, 2};
    auto ends = std::make_unique<ByteEnds>(folder, seed_, (1 + random_() % 256) * 4096);
    {
      Engine::Guard guard(target.get());
      dwcp::Link* link = target->link(target_link);
      link->AddReceiver(std::make_unique<dwcp::ByteReceiver>(
          link, target->NextHandle(), name, window_bytes, dwcp::ConnectLocal(ends->out_path)));
    }
    {
      Engine::Guard guard(source.get());
      dwcp::Link* link = source->link(source_link);
      link->AddSender(
          std::make_unique<dwcp::ByteSender>(link, source->NextHandle(), name, window_bytes,
                                             dwcp::ListenLocal(ends->in_path), ends->in_path));
    }
    ends->Start();
    return ends;
  }
  std::string Describe(bool with_bytes) {
    return std::to_string(acked_batches_) + " batches acknowledged, bytes " +
           (with_bytes ? (drained_ ? "drained" : "missing") : "not carried") + ", " +
           std::to_string(listening_.streams.size()) + " streams listened, " +
           std::to_string(dialling_.streams.size()) + " dialled, " +
           std::to_string(lingering_.size()) + " strangers";
  }
  static int Open(Side& side, uint64_t window_bytes, uint32_t chunk_bytes) {
    Engine::Guard guard(side.get());
    return side->OpenLink(window_bytes, chunk_bytes)->id();
  }
  static void ShareContent(Side& side, int link, Cache& cache) {
    Engine::Guard guard(side.get());
    side->link(link)->content().Share(cache.store());
  }
  static void Close(Side& side, int link) {
    Engine::Guard guard(side.get());
    side->CloseLink(link);
    side.streams.clear();
    side->TakeEvents();  // that its transfers ended with it is no news for the next round
  }

  void Listen() {
    for (const Event& event : listening_->TakeEvents()) {
      if (std::strcmp(event.type, "join") == 0) {
        Engine::Guard guard(listening_.get());
        dwcp::Stream* stream = listening_->stream(event.id);
        if (stream == nullptr) continue;
        const uint8_t accept = 1;
        stream->SendJoin(&accept, 1);
        stream->Attach(listening_->link(listening_link_));
        listening_.streams.insert(event.id);
      } else {
        Common(listening_, event);
      }
    }
  }
  void Dial() {
    for (const Event& event : dialling_->TakeEvents()) {
      Engine::Guard guard(dialling_.get());
      dwcp::Stream* stream = dialling_->stream(event.id);
      if (std::strcmp(event.type, "challenge") == 0) {
        if (stream != nullptr) stream->SendJoin(event.challenge.data(), event.challenge.size());
      } else if (std::strcmp(event.type, "join") == 0) {
        if (stream == nullptr) continue;
        stream->Attach(dialling_->link(dialling_link_));
        dialling_.streams.insert(event.id);
      } else {
        if (std::strcmp(event.type, "closed") == 0) dialled_.erase(event.id);
        Common(dialling_, event);
      }
    }
    while (dialled_.size() < wanted_streams_) {
      Engine::Guard guard(dialling_.get());
      const int id = dialling_->Dial("127.0.0.1", port_, "", "reno", 2000);
      if (id < 0) Die("cannot dial", seed_);
      dialled_.insert(id);
    }
  }
  void Common(Side& side, const Event& event) {
    const std::string type = event.type;
    if (type == "closed") side.streams.erase(event.id);
    if (type == "refused") tally_.refused += static_cast<uint64_t>(event.id);
    if (type == "batchAcked") acked_batches_++;
    if (type == "drained") drained_ = true;
    if (type == "sendFailed" || type == "receiveFailed") Die(type + ": " + event.message, seed_);
  }

  // As a reconnect does: both sides' streams of the old keys end.
  void Rekey() {
    std::array<uint8_t, dwcp::kLinkSecretBytes> secrets[2];
    for (auto& secret : secrets) {
      for (uint8_t& byte : secret) byte = static_cast<uint8_t>(random_());
    }
    const size_t key_bytes = random_() % 2 == 0 ? 16 : 32;
    dwcp::SealLimits limits;
    if (random_() % 2 == 0) limits.bytes_per_key = 4u << 20;
    const auto keys = [&](int own) {
      return std::make_shared<dwcp::LinkKeys>(secrets[own].data(), secrets[1 - own].data(),
                                              key_bytes, limits);
    };
    {
      Engine::Guard guard(listening_.get());
      if (!listening_->link(listening_link_)->SetKeys(keys(0))) Die("no new keys", seed_);
    }
    Engine::Guard guard(dialling_.get());
    if (!dialling_->link(dialling_link_)->SetKeys(keys(1))) Die("no new keys", seed_);
  }

  void Harm() {
    if (rekeys_ > 0 && random_() % 32 == 0) {
      rekeys_--;
      Rekey();
    }
    if (random_() % 256 == 0) lingering_.clear();
    if (kills_ > 0 && random_() % 8 == 0) {
      Side& side = random_() % 2 == 0 ? listening_ : dialling_;
      if (!side.streams.empty()) {
        auto victim = side.streams.begin();
        std::advance(victim, random_() % side.streams.size());
        Engine::Guard guard(side.get());
        dwcp::Stream* stream = side->stream(*victim);
        if (stream != nullptr) stream->Close("", "");
        kills_--;
        tally_.kills++;
      }
    }
    if (hostile_ == 0 || random_() % 8 != 0) return;
    hostile_--;
    tally_.hostile++;
    Stranger stranger(port_);
    const uint64_t kind = random_() % 4;
    if (kind == 0) {
      std::vector<uint8_t> noise(random_() % 4096);
      for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random_());
      stranger.Send(noise);
      return;
    }
    stranger.Join();
    // The link takes it in: what it sends now reaches the parser of chunks.
    Listen();
    for (uint64_t i = 0; i < kind; i++) stranger.Send(DamagedFrame(random_, name_, page_count_));
    // Some linger, so that chunks are pulled for a peer that never reads, until it is gone.
    if (random_() % 2 == 0) lingering_.push_back(std::move(stranger));
  }
  void Count(Side& source, int source_link, Side& target, int target_link) {
    {
      Engine::Guard guard(source.get());
      tally_.reinjected += source->link(source_link)->counters().chunks_reinjected;
      tally_.resealed += source->link(source_link)->counters().chunks_resealed;
    }
    Engine::Guard guard(target.get());
    const dwcp::LinkCounters& counters = target->link(target_link)->counters();
    tally_.corrupt += counters.chunks_corrupt;
    tally_.forged += counters.frames_forged;
    tally_.replayed += counters.frames_replayed;
    if (sealed_) tally_.sealed++;
  }

  Side& listening_;
  Side& dialling_;
  Caches& caches_;
  int port_;
  uint64_t seed_;
  Random random_;
  Tally& tally_;
  int listening_link_ = 0, dialling_link_ = 0;
  size_t wanted_streams_ = 1;
  uint64_t kills_ = 0, hostile_ = 0, rekeys_ = 0;
  bool sealed_ = false;
  size_t acked_batches_ = 0;
  bool drained_ = false;
  dwcp::TransferName name_{};
  uint64_t page_count_ = 0;
  std::set<int> dialled_;
  std::vector<Stranger> lingering_;
};

}  // namespace

int main(int count, char** arguments) {
  const double seconds = count > 1 ? atof(arguments[1]) : 10;
  uint64_t seed = count > 2 ? strtoull(arguments[2], nullptr, 10) : std::random_device{}();
  signal(SIGPIPE, SIG_IGN);
  char folder[] = "/tmp/dwcp-engine-faults-XXXXXX";
  if (mkdtemp(folder) == nullptr) return 1;
  fprintf(stderr, "engine_faults: first seed %llu\n", static_cast<unsigned long long>(seed));
  Tally tally;
  auto caches = std::unique_ptr<Caches>(
      new Caches{Cache(folder + std::string("/a")), Cache(folder + std::string("/b"))});
  const uint64_t end_us = Engine::NowUs() + static_cast<uint64_t>(seconds * 1e6);
  while (Engine::NowUs() < end_us) {
    // New engines now and then, stopped with whatever hangs on them.
    Side listening;
    Side dialling;
    int port;
    {
      Engine::Guard guard(listening.get());
      port = listening->Listen("127.0.0.1", 0);
    }
    if (port <= 0) Die("cannot listen", seed);
    for (int i = 0; i < 10 && Engine::NowUs() < end_us; i++) {
      Round(listening, dialling, *caches, port, seed++, tally).Run(folder);
    }
  }
  tally.cached = caches->listening.hits() + caches->dialling.hits();
  caches.reset();
  unlink((std::string(folder) + "/out").c_str());
  rmdir(folder);
  printf("engine_faults: rounds=%" PRIu64 " kills=%" PRIu64 " hostile=%" PRIu64
         " reinjected=%" PRIu64 " corrupt=%" PRIu64 " refused=%" PRIu64 " sealed=%" PRIu64
         " resealed=%" PRIu64 " forged=%" PRIu64 " replayed=%" PRIu64 " deltas=%" PRIu64
         " compressed=%" PRIu64 " damaged=%" PRIu64 " known=%" PRIu64 " unknown=%" PRIu64
         " cached=%" PRIu64 " duplicates=%" PRIu64 "\n",
         tally.rounds, tally.kills, tally.hostile, tally.reinjected, tally.corrupt, tally.refused,
         tally.sealed, tally.resealed, tally.forged, tally.replayed, tally.deltas, tally.compressed,
         tally.damaged, tally.known, tally.unknown, tally.cached, tally.duplicates);
  const bool met = tally.kills > 0 && tally.reinjected > 0 && tally.deltas > 0;
  return tally.rounds > 0 && met ? 0 : 1;
}
