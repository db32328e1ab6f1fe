// The ring between two sides of a queue pair, told anything: what the reader admits always lies in
// its ring and in order, and a writer that hears nonsense never believes more room than there is.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "rdma/ring_window.h"

using namespace dwcp;

namespace {

void Hold(bool holds) {
  if (!holds) std::abort();
}

template <typename T>
T Take(const uint8_t** data, size_t* size) {
  T value{};
  const size_t bytes = *size < sizeof value ? *size : sizeof value;
  std::memcpy(&value, *data, bytes);
  *data += bytes;
  *size -= bytes;
  return value;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  RingGrant grant = Take<RingGrant>(&data, &size);
  if (!grant.IsSane()) {
    grant = RingGrant{};
    grant.ring_bytes = RingGrant::kRingBytesMin + (grant.ring_bytes & 0xfff);
    grant.address = 4096;
    grant.receives = RingGrant::kReceivesMin;
  }
  Hold(grant.IsSane());
  RingWriter writer;
  RingReader reader;
  writer.Open(grant);
  reader.Open(grant.ring_bytes, grant.receives);
  uint64_t held = 0;  // doorbells that the reader has not posted a receive for
  while (size > 0) {
    switch (Take<uint8_t>(&data, &size) % 6) {
      case 0: {  // an honest write
        const uint64_t room = writer.Room();
        Hold(writer.offset() + room <= grant.ring_bytes);
        Hold(writer.untaken() + room <= grant.ring_bytes);
        if (room == 0) break;
        const uint64_t bytes = 1 + Take<uint32_t>(&data, &size) % room;
        const auto position = static_cast<uint32_t>(writer.written());
        writer.Wrote(bytes);
        Hold(reader.Arrived(bytes, position));
        held++;
        break;
      }
      case 1: {  // what a peer makes up
        const uint64_t before = reader.readable();
        const auto bytes = Take<uint32_t>(&data, &size);
        const auto position = Take<uint32_t>(&data, &size);
        RingReader strange = reader;
        if (strange.Arrived(bytes, position)) {
          Hold(bytes > 0 && strange.readable() == before + bytes);
          Hold(strange.readable() <= grant.ring_bytes);
        } else {
          Hold(strange.readable() == before);
        }
        break;
      }
      case 2: {  // reads
        const uint64_t piece = reader.contiguous();
        Hold(reader.offset() + piece <= grant.ring_bytes);
        if (piece > 0) reader.Took(1 + Take<uint32_t>(&data, &size) % piece);
        break;
      }
      case 3:  // receives stand ready again
        reader.Posted(held);
        held = 0;
        break;
      case 4: {  // an honest credit
        Hold(writer.Hear(reader.Tell()));
        Hold(writer.untaken() <= grant.ring_bytes);
        break;
      }
      case 5: {  // a credit that a peer makes up
        const RingCredit credit = Take<RingCredit>(&data, &size);
        RingWriter strange = writer;
        const uint64_t room = writer.Room();
        if (!strange.Hear(credit)) Hold(strange.Room() == room);
        Hold(strange.untaken() <= grant.ring_bytes);
        Hold(strange.offset() + strange.Room() <= grant.ring_bytes);
        break;
      }
    }
  }
  // Both idle, all of it told: there is room again.
  while (reader.contiguous() > 0) reader.Took(reader.contiguous());
  reader.Posted(held);
  Hold(writer.Hear(reader.Tell()));
  Hold(writer.untaken() == 0 && writer.Room() > 0);
  return 0;
}
