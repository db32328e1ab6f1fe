// What an attached stream hears: acknowledgements, refusals, and chunks, which are verified,
// decoded and checked before anything of them is landed.
#include <cstring>

#include "engine/engine.h"
#include "engine/stream.h"

namespace dwcp {
namespace {

// Small chunks are acknowledged together, at the latest when the turn ends.
constexpr uint64_t kAckEveryBytes = 256 * 1024;

}  // namespace

bool Stream::OnAckFrame() {
  Sender* sender = link_->FindSender(frame_.transfer_id, frame_.epoch);
  if (sender == nullptr) return true;
  AckState ack;
  ack.cumulative = frame_.seq;
  ack.credit_bytes = frame_.credit;
  ack.refused = frame_.refused;
  ack.word_count = frame_.plain_bytes() / 8;
  std::memcpy(ack.words.data(), small_, frame_.plain_bytes());
  if (!sender->OnAck(ack)) return Refuse("acknowledges what was never sent");
  link_->KickOne();
  return true;
}

bool Stream::IsPlainChunk(Buffer* buffer) const {
  return frame_.type == FrameType::kChunkPages && IsPlain(frame_, buffer->map());
}

// Outside. The digests are those of the pages of a plain chunk.
bool Stream::CheckChunk(Buffer* buffer, PageDigest* digests) const {
  const uint32_t start = Crc32c(HeaderCrc(header_), buffer->map(), frame_.map_entries * size_t{8});
  if (!IsPlainChunk(buffer)) {
    return Crc32c(start, buffer->payload, frame_.encoded_bytes) == frame_.tag;
  }
  uint32_t pages_crc = start;
  const size_t pages = frame_.encoded_bytes / kPageBytes;
  for (size_t i = 0; i < pages; i++) {
    digests[i] = DigestPage(buffer->payload + i * kPageBytes);
    pages_crc = Crc32cAppendPage(pages_crc, digests[i]);
  }
  return pages_crc == frame_.tag;
}

// The same for one that is sealed.
bool Stream::OpenChunk(Buffer* buffer, PageDigest* digests) {
  const SealPart body[2] = {{buffer->meta + kHeaderBytes, frame_.map_entries * size_t{8}},
                            {buffer->payload, frame_.encoded_bytes}};
  if (!keys_->opener.Open(buffer->nonce, {header_, kHeaderBytes}, body, 2, buffer->seal_tag)) {
    return false;
  }
  if (!IsPlainChunk(buffer)) return true;
  const size_t pages = frame_.encoded_bytes / kPageBytes;
  for (size_t i = 0; i < pages; i++) digests[i] = DigestPage(buffer->payload + i * kPageBytes);
  return true;
}

bool Stream::OnRefusedFrame() {
  Sender* sender = link_->FindSender(frame_.transfer_id, frame_.epoch);
  if (sender == nullptr) return true;
  uint32_t pages[kRefusedBytesMax / sizeof(uint32_t)];
  std::memcpy(pages, small_, frame_.plain_bytes());
  if (!sender->OnRefused(frame_.seq, pages, frame_.plain_bytes() / sizeof pages[0])) {
    return Refuse("refuses pages that were never named");
  }
  FrameHeader heard{};
  heard.type = FrameType::kRefusalsHeard;
  heard.transfer_id = frame_.transfer_id;
  heard.epoch = frame_.epoch;
  heard.seq = sender->refusals_heard();
  QueueFrame(heard, nullptr);
  return true;
}

bool Stream::OnHeardFrame() {
  Receiver* receiver = link_->FindReceiver(frame_.transfer_id, frame_.epoch);
  if (receiver == nullptr || receiver->refusals().Heard(frame_.seq)) return true;
  return Refuse("heard of refusals that were never told");
}

bool Stream::OnContentFrame() {
  if (link_->content().OnPiece(frame_, small_, Engine::NowUs())) {
    link_->Kick();
    return true;
  }
  return Refuse("a piece of what a content cache holds makes no sense");
}

bool Stream::OnChunk() {
  Buffer* buffer = rx_;
  rx_ = nullptr;
  LinkCounters& counters = link_->counters();
  PageDigest* digests = loop()->digests();
  const bool sealed = frame_.sealed();
  const bool holds = [&] {
    Engine::Outside outside(engine_);
    return sealed ? OpenChunk(buffer, digests) : CheckChunk(buffer, digests);
  }();
  BufferPool& pool = link_->pool();
  if (!holds) {
    pool.Give(buffer);
    return sealed ? Forged() : Corrupt("a chunk from " + remote_ + " failed its checksum");
  }
  const bool is_fresh = !sealed || keys_->opener.Mark(buffer->nonce);
  Receiver* receiver = link_->FindReceiver(frame_.transfer_id, frame_.epoch);
  if (receiver == nullptr) {
    pool.Give(buffer);
    FrameHeader reset{};
    reset.type = FrameType::kReset;
    reset.transfer_id = frame_.transfer_id;
    reset.epoch = frame_.epoch;
    QueueFrame(reset, nullptr);
    return true;
  }
  buffer->payload_bytes = frame_.encoded_bytes;
  buffer->raw_bytes = frame_.raw_bytes;
  const char* wrong = receiver->Check(frame_, buffer);
  if (wrong != nullptr) {
    pool.Give(buffer);
    return Refuse(wrong);
  }
  // A chunk that lost its stream comes again as the identical frame, and is then a duplicate for
  // the receiver, too. One that was here and would still be news is a replay, or so late that it
  // can not be told: its stream ends, and what it really carried is sealed anew for another one.
  if (!is_fresh && !receiver->core().Holds(frame_.seq)) {
    pool.Give(buffer);
    return Replayed();
  }
  Landing landing{digests, nullptr, &loop()->decoder()};
  if (frame_.type == FrameType::kChunkPages && !IsPlainChunk(buffer)) {
    {
      Engine::Outside outside(engine_);
      landing.records = loop()->decoder().Decode(frame_, buffer->map(), buffer->payload);
    }
    if (landing.records == nullptr) {
      pool.Give(buffer);
      counters.chunks_corrupt++;
      return Refuse("a chunk does not decode to what its header says");
    }
  }
  const Offer offer = receiver->core().Offered(frame_.seq, kHeaderBytes + frame_.body_bytes);
  if (offer == Offer::kNew) {
    counters.chunks_landed++;
    link_->tuning_progress().Landed(Engine::NowUs());
    if (!receiver->Take(frame_, buffer, landing)) pool.Give(buffer);
  } else {
    pool.Give(buffer);
    if (offer == Offer::kImpossible) return Refuse("sequence or credit exceeded");
    counters.chunks_duplicate++;
  }
  link_->AckChanged(receiver);
  acks_due_ = true;
  unacked_bytes_ += frame_.body_bytes;
  if (unacked_bytes_ < kAckEveryBytes) return true;
  Write();
  return state_ == State::kAttached;
}

}  // namespace dwcp
