#include "engine/transfer.h"

#include "engine/engine.h"
#include "engine/link.h"
#include "engine/stream.h"

namespace dwcp {

bool Sender::MayPull() {
  if (failed_) return false;
  if (core_.has_reinjection() || !ready_.empty()) return true;
  return !EncodesAhead() && HasWork() && HasRoom();
}

bool Sender::WantsRoom() {
  if (failed_) return false;
  if (core_.has_reinjection()) return true;
  return HasWork() && (!EncodesAhead() || !HasRoom());
}

// What a chunk will measure is known only once it is built: asks for room for the largest.
bool Sender::HasRoom() const { return core_.MayStage(kChunkFrameOverhead + link_->chunk_bytes()); }

Buffer* Sender::Pull(Stream* stream, bool* reinjected) {
  if (!MayPull()) return nullptr;
  if (one_stream_ && stream != link_->streams().front()) return nullptr;
  if (const uint64_t seq = core_.PullReinjection(stream->id())) {
    *reinjected = true;
    staged_[seq % kOutstandingMax]->writers++;
    staged_[seq % kOutstandingMax]->stream = stream->id();
    wire_bytes_ += staged_[seq % kOutstandingMax]->frame_bytes();
    return staged_[seq % kOutstandingMax];
  }
  if (!ready_.empty()) {
    const uint64_t seq = ready_.front();
    ready_.pop_front();
    core_.Carry(seq, stream->id());
    Buffer* ready = staged_[seq % kOutstandingMax];
    ready->writers++;
    ready->stream = stream->id();
    wire_bytes_ += ready->frame_bytes();
    // A worker may build the next one.
    link_->engine()->KickEncoders();
    return ready;
  }
  Buffer* buffer = link_->pool().Take();
  if (!Build(buffer, stream)) {
    link_->pool().Give(buffer);
    return nullptr;
  }
  buffer->stream = stream->id();
  wire_bytes_ += buffer->frame_bytes();
  return buffer;
}

void Sender::Keep(uint64_t seq, Buffer* buffer) {
  staged_[seq % kOutstandingMax] = buffer;
  buffer->tuning = link_->tuning_progress().number();
  buffer->writers++;
}

bool Sender::OnAck(const AckState& ack) {
  if (failed_) return true;
  const uint64_t before = core_.cumulative();
  const bool possible = core_.Acked(ack, [this](uint64_t seq) {
    Buffer* buffer = staged_[seq % kOutstandingMax];
    staged_[seq % kOutstandingMax] = nullptr;
    Released(*buffer);
    link_->Acked(*buffer);
    buffer->released = true;
    if (buffer->writers == 0) link_->pool().Give(buffer);
  });
  Heard(ack);
  if (core_.cumulative() != before) Advanced();
  return possible;
}

void Sender::Drop() {
  ready_.clear();
  for (Buffer*& buffer : staged_) {
    if (buffer == nullptr) continue;
    buffer->released = true;
    if (buffer->writers == 0) link_->pool().Give(buffer);
    buffer = nullptr;
  }
}

void Sender::Seal(Buffer* buffer, uint64_t seq, FrameType type, uint32_t map_entries,
                  uint32_t flags, const PageDigest* digests,
                  const std::shared_ptr<LinkKeys>& keys) const {
  FrameHeader header{};
  header.type = type;
  header.epoch = name_.epoch;
  header.transfer_id = name_.id;
  header.seq = seq;
  header.map_entries = map_entries;
  header.flags = flags | (keys == nullptr ? 0 : kSealed);
  header.raw_bytes = buffer->raw_bytes;
  header.encoded_bytes = buffer->payload_bytes;
  header.body_bytes = map_entries * 8 + buffer->payload_bytes + (keys == nullptr ? 0 : kSealBytes);
  buffer->meta_bytes = kHeaderBytes + map_entries * 8;
  WriteHeader(buffer->header(), header);
  if (keys != nullptr) {
    buffer->Seal(std::shared_ptr<Sealer>(keys, &keys->sealer));
    return;
  }
  uint32_t crc = HeaderCrc(buffer->header());
  crc = Crc32c(crc, buffer->map(), map_entries * 8);
  if (digests == nullptr) {
    crc = Crc32c(crc, buffer->payload, buffer->payload_bytes);
  } else {
    const size_t pages = buffer->payload_bytes / kPageBytes;
    for (size_t i = 0; i < pages; i++) crc = Crc32cAppendPage(crc, digests[i]);
  }
  PatchTag(buffer->header(), crc);
}

}  // namespace dwcp
