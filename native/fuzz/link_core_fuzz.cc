// libFuzzer: the rules of a link against any order of events, hostile acknowledgements and
// sequences included. The sanitizers watch the bounds of their arrays, a set watches the rules.
#include <cstdlib>
#include <set>
#include <vector>

#include "engine/link_core.h"

namespace {

constexpr uint64_t kPages = 16;
constexpr uint64_t kWindowBytes = 4096;

void Require(bool holds) {
  if (!holds) abort();
}

class Input {
 public:
  Input(const uint8_t* data, size_t bytes) : data_(data), bytes_(bytes) {}
  bool done() const { return at_ >= bytes_; }
  uint64_t Byte() { return done() ? 0 : data_[at_++]; }
  // Small mostly, with an edge of 64 bits now and then.
  uint64_t Number() {
    const uint64_t first = Byte();
    if (first < 250) return first;
    return (first % 2 == 0 ? 0 : ~uint64_t{0}) ^ Byte();
  }

 private:
  const uint8_t* data_;
  size_t bytes_;
  size_t at_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  Input input(data, bytes);
  dwcp::SendCore sender(kWindowBytes);
  dwcp::ReceiveCore receiver(kWindowBytes, kPages);
  std::set<uint64_t> released;
  std::set<uint64_t> landed;
  uint64_t landed_bytes_max = 0;
  while (!input.done()) {
    switch (input.Byte() % 5) {
      case 0: {
        const uint64_t size = 1 + input.Byte() * 8;
        const int stream = static_cast<int>(input.Byte() % 4);
        if (const uint64_t seq = sender.PullReinjection(stream)) {
          Require(released.count(seq) == 0);
        } else if (sender.MayStage(size)) {
          sender.Stage(size, stream);
        }
        break;
      }
      case 1:
        sender.StreamDown(static_cast<int>(input.Byte() % 4));
        break;
      case 2: {  // an acknowledgement that nobody vouches for
        dwcp::AckState ack;
        ack.cumulative = input.Number();
        ack.credit_bytes = input.Number();
        ack.word_count = static_cast<uint32_t>(input.Byte() % (ack.words.size() + 1));
        for (uint32_t i = 0; i < ack.word_count; i++) ack.words[i] = input.Number();
        const bool possible = sender.Acked(ack, [&](uint64_t seq) {
          Require(seq < sender.next() && released.insert(seq).second);
        });
        Require(possible || ack.cumulative >= sender.next() ||
                ack.cumulative + ack.word_count * 64 >= sender.next());
        break;
      }
      case 3: {  // a chunk that nobody vouches for
        const uint64_t seq = input.Number();
        const uint64_t size = input.Byte() * 64;  // a header vouches for at most a chunk
        const dwcp::Offer offer = receiver.Offered(seq, size);
        if (offer == dwcp::Offer::kDuplicate) Require(landed.count(seq) == 1);
        if (offer != dwcp::Offer::kNew) break;
        Require(landed.insert(seq).second);
        Require(seq - receiver.cumulative() <= dwcp::kOutstandingMax);
        const bool first = seq == receiver.cumulative() + 1;
        Require(first || size <= kWindowBytes);
        landed_bytes_max += size;
        for (uint64_t i = 0; i < 3; i++) receiver.AdmitPage(input.Byte() % kPages, seq);
        receiver.Landed(seq);
        break;
      }
      default: {
        dwcp::AckState ack;
        receiver.Describe(&ack);
        Require(ack.word_count <= ack.words.size());
        Require(ack.credit_bytes <= landed_bytes_max + kWindowBytes);
        break;
      }
    }
    Require(sender.cumulative() < sender.next());
    Require(sender.next() - 1 - sender.cumulative() <= dwcp::kOutstandingMax);
  }
  return 0;
}
