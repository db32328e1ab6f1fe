// Everything between us and one peer: the streams, and the transfers they pull from.
#pragma once
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "codec/chooser.h"
#include "codec/content.h"
#include "crypto/link_keys.h"
#include "engine/content_exchange.h"
#include "engine/pacing.h"
#include "engine/path_facts.h"
#include "engine/rdma_path.h"
#include "engine/staging.h"
#include "engine/staging_target.h"
#include "engine/transfer.h"
#include "engine/tuning.h"

namespace dwcp {

class Engine;
class Stream;

constexpr size_t kReceiversMax = 64;
constexpr size_t kSendersMax = 64;

struct LinkCounters {
  uint64_t wire_bytes_sent = 0, wire_bytes_received = 0, chunks_sent = 0, chunks_reinjected = 0;
  uint64_t chunks_landed = 0, chunks_duplicate = 0, chunks_corrupt = 0;
  // A tag that did not hold; a frame that was here before and is no re-injection.
  uint64_t frames_forged = 0, frames_replayed = 0;
  uint64_t chunks_resealed = 0;
  // Pulls that found nothing to send, or were paced: the wire had room that nobody used.
  uint64_t idle_pulls = 0;
};

class Link {
 public:
  Link(Engine* engine, int id, uint64_t window_bytes, uint32_t chunk_bytes, uint32_t encoders)
      : engine_(engine),
        id_(id),
        window_bytes_(window_bytes),
        chunk_bytes_(chunk_bytes),
        pool_(chunk_bytes),
        staging_target_(kChunkFrameOverhead + chunk_bytes),
        chooser_(encoders),
        encoders_(encoders) {}

  Engine* engine() { return engine_; }
  int id() const { return id_; }
  uint64_t window_bytes() const { return window_bytes_; }
  uint32_t chunk_bytes() const { return chunk_bytes_; }
  BufferPool& pool() { return pool_; }
  std::vector<Stream*>& streams() { return streams_; }
  LinkCounters& counters() { return counters_; }

  void Attach(Stream* stream);
  void StreamGone(Stream* stream);
  void SetMaxBandwidth(uint64_t bytes_per_sec);
  // On every stream and from the next chunk on. 0, or minus errno of the first socket that refused;
  // the others are tuned all the same.
  int Tune(const Tuning& tuning);
  const Tuning& tuning() const { return tuning_; }
  TuningProgress& tuning_progress() { return tuning_progress_; }
  // Of at most so many of the oldest streams.
  PathFacts Facts(size_t streams_max);
  // From the next chunk that is built on.
  void SetCodecPolicy(const CodecPolicy& policy);
  CodecChooser& chooser() { return chooser_; }
  bool encodes() const { return chooser_.policy().kind != CodecPolicy::Kind::kRaw; }
  // What pages may be known by, here as a sender and as a receiver.
  ContentExchange& content() { return content_; }
  const std::shared_ptr<ContentFilter>& filter() const { return content_.filter(); }
  ContentSource* source() const { return content_.source(); }
  // Under a Guard. Streams that are attached from now on carry nothing that these keys did not
  // seal; null means frames with a CRC. Streams of the keys before end, and what they carried is
  // sealed anew when another one takes it over. False while transfers are open and would have to
  // change between the two kinds of frames.
  bool SetKeys(std::shared_ptr<LinkKeys> keys);
  // For streams that are attached from now on.
  void SetRdma(RdmaWish wish, const std::string& why_off) {
    rdma_wish_ = wish;
    rdma_fallback_.clear();
    if (!why_off.empty()) RdmaFellBack(why_off);
  }
  RdmaWish rdma_wish() const { return rdma_wish_; }
  // A stream is carried by its socket, or its memory is copied, though a queue pair was wanted.
  void RdmaFellBack(const std::string& why) {
    rdma_fallback_ = why;
    rdma_fallbacks_++;
  }
  const std::string& rdma_fallback() const { return rdma_fallback_; }
  uint64_t rdma_fallbacks() const { return rdma_fallbacks_; }
  void RdmaGone(const RdmaCounters& counters) { rdma_gone_.Add(counters); }
  // Of all its queue pairs, those that are gone included.
  RdmaCounters rdma_counters() const;
  size_t rdma_streams() const;
  // What to seal chunks with, or null. Stands still for whoever holds the lock or is Outside.
  const std::shared_ptr<LinkKeys>& keys() const { return keys_; }
  // Makes a chunk that is about to be sent recognisable for the peer. May go Outside.
  bool Renew(Buffer* buffer);
  // How many chunks a sender may have built, or be building, ahead of the streams.
  size_t ahead_max() const { return streams_.size() + 2 * encoders_; }
  uint32_t encoders() const { return encoders_; }
  // Whose chunk an encode worker builds next; null when there is nothing to build, or no room.
  Sender* NextToEncode();
  // The next chunk for this stream, re-injections first, transfers in turn; null when none may go.
  Buffer* Pull(Stream* stream);
  // 0, or microseconds until the bucket lets the next chunk go; kicks when it just did.
  uint64_t Unthrottle(uint64_t now_us);
  // Everything that goes out passes the bucket, acknowledgements included.
  void Sent(uint64_t bytes) {
    counters_.wire_bytes_sent += bytes;
    bucket_.Take(bytes);
  }
  // A chunk was acknowledged; it counts for the stream that carried it last.
  void Acked(const Buffer& buffer);
  // Once per tick: how much is worth staging, and whether somebody idle may pull.
  void Tick(uint64_t now_us);
  // There may be work: every idle stream asks again. KickOne wakes one, which wakes the next once
  // it took a chunk: for the events that come with every chunk.
  void Kick();
  void KickOne();

  bool AddSender(std::unique_ptr<Sender> sender);
  bool AddReceiver(std::unique_ptr<Receiver> receiver);
  void RemoveSender(int handle);
  void RemoveReceiver(int handle);
  Sender* FindSender(uint64_t transfer_id, uint32_t epoch);
  Receiver* FindReceiver(uint64_t transfer_id, uint32_t epoch);
  Receiver* receiver_at(size_t slot) { return receivers_[slot].get(); }
  void AckChanged(Receiver* receiver) { receiver->generation = ++generation_; }
  void Fail(const std::string& code, const std::string& message);

 private:
  Engine* engine_;
  int id_;
  uint64_t window_bytes_;
  uint32_t chunk_bytes_;
  BufferPool pool_;
  StagingTarget staging_target_;
  Tuning tuning_;
  TuningProgress tuning_progress_;
  uint64_t acked_bytes_ = 0;
  size_t measured_turn_ = 0;
  PacingBucket bucket_;
  std::shared_ptr<LinkKeys> keys_;
  RdmaWish rdma_wish_ = RdmaWish::kOff;
  std::string rdma_fallback_;
  uint64_t rdma_fallbacks_ = 0;
  RdmaCounters rdma_gone_;
  void MeasureWire(uint64_t now_us);
  CodecChooser chooser_;
  uint32_t encoders_;
  ContentExchange content_;
  size_t encode_turn_ = 0;
  // At the start of the interval that the chooser hears of next.
  struct {
    uint64_t at_us = 0, acked_bytes = 0, chunks = 0, hungry_pulls = 0;
  } interval_;
  uint64_t hungry_pulls_ = 0;  // found nothing, though more was to be sent and there was room
  bool MayPull();
  bool HasReceivers() const;
  bool throttled_ = false;
  uint64_t generation_ = 0;
  size_t turn_ = 0;
  size_t kick_turn_ = 0;
  std::vector<Stream*> streams_;
  std::vector<std::unique_ptr<Sender>> senders_;
  std::array<std::unique_ptr<Receiver>, kReceiversMax> receivers_{};
  LinkCounters counters_;
};

}  // namespace dwcp
