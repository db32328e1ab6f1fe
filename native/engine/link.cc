#include "engine/link.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "engine/engine.h"
#include "engine/stream.h"

namespace dwcp {
namespace {

constexpr uint64_t kWireIntervalUs = 400000;

void AddFacts(int fd, PathFacts* facts) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return;
  const bool is_first = facts->streams++ == 0;
  facts->rtt_us = is_first ? info.tcpi_rtt : std::min<uint64_t>(facts->rtt_us, info.tcpi_rtt);
  if (info.tcpi_min_rtt != ~0u) {
    facts->rtt_min_us = facts->rtt_min_us == 0
                            ? info.tcpi_min_rtt
                            : std::min<uint64_t>(facts->rtt_min_us, info.tcpi_min_rtt);
  }
  facts->rtt_var_us = std::max<uint64_t>(facts->rtt_var_us, info.tcpi_rttvar);
  facts->segments_sent += info.tcpi_segs_out;
  facts->segments_resent += info.tcpi_total_retrans;
  facts->busy_us += info.tcpi_busy_time;
  facts->held_us += info.tcpi_rwnd_limited + info.tcpi_sndbuf_limited;
}

}  // namespace

void Link::Attach(Stream* stream) {
  streams_.push_back(stream);
  stream->SetUnreadTimeout(tuning_.unread_timeout_ms);
  stream->SetUnsentLimit(tuning_.unsent_bytes);
  stream->AcksDue();
}

void Link::StreamGone(Stream* stream) {
  streams_.erase(std::remove(streams_.begin(), streams_.end(), stream), streams_.end());
  uint32_t lost = 0;
  for (auto& sender : senders_) lost += sender->StreamDown(stream->id());
  if (lost > 0) Kick();
}

bool Link::SetKeys(std::shared_ptr<LinkKeys> keys) {
  const bool is_other_kind = (keys == nullptr) != (keys_ == nullptr);
  if (is_other_kind && (!senders_.empty() || HasReceivers())) return false;
  while (!streams_.empty()) streams_.back()->Close("", "");
  keys_ = std::move(keys);
  return true;
}

bool Link::Renew(Buffer* buffer) {
  if (keys_ == nullptr) return true;
  const std::shared_ptr<Sealer> sealer(keys_, &keys_->sealer);
  if (buffer->sealer == sealer && !sealer->IsStale(buffer->nonce)) return true;
  counters_.chunks_resealed++;
  Engine::Outside outside(engine_);
  return buffer->SealAnew(sealer);
}

RdmaCounters Link::rdma_counters() const {
  RdmaCounters sum = rdma_gone_;
  for (const Stream* stream : streams_) sum.Add(stream->rdma_counters());
  return sum;
}

size_t Link::rdma_streams() const {
  return static_cast<size_t>(std::count_if(streams_.begin(), streams_.end(),
                                           [](const Stream* each) { return each->by_rdma(); }));
}

void Link::SetMaxBandwidth(uint64_t bytes_per_sec) {
  bucket_.SetRate(bytes_per_sec, Engine::NowUs());
  Kick();
}

int Link::Tune(const Tuning& tuning) {
  tuning_ = tuning;
  chunk_bytes_ = tuning.chunk_bytes;
  pool_.SetChunkBytes(chunk_bytes_);
  staging_target_.SetChunkBytes(kChunkFrameOverhead + chunk_bytes_);
  int result = 0;
  for (Stream* stream : streams_) {
    stream->SetUnreadTimeout(tuning.unread_timeout_ms);
    stream->SetUnsentLimit(tuning.unsent_bytes);
    const int error = stream->SetCongestion(tuning.congestion);
    if (result == 0) result = error;
  }
  tuning_progress_.Changed(Engine::NowUs());
  Kick();
  return result;
}

PathFacts Link::Facts(size_t streams_max) {
  PathFacts facts;
  const size_t count = std::min(streams_max, streams_.size());
  for (size_t i = 0; i < count; i++) {
    // The same ones each time, for as long as they stand: their counters are compared.
    AddFacts(streams_[i]->fd(), &facts);
  }
  return facts;
}

void Link::SetCodecPolicy(const CodecPolicy& policy) {
  chooser_.SetPolicy(policy);
  if (encodes()) engine_->StartEncoders();
  Kick();
}

Sender* Link::NextToEncode() {
  for (size_t tried = 0; tried < senders_.size(); tried++) {
    Sender& sender = *senders_[encode_turn_++ % senders_.size()];
    if (sender.MayEncode()) return &sender;
  }
  return nullptr;
}

uint64_t Link::Unthrottle(uint64_t now_us) {
  if (!throttled_) return 0;
  const uint64_t wait_us = bucket_.WaitUs(now_us);
  if (wait_us > 0) return wait_us;
  throttled_ = false;
  Kick();
  return 0;
}

Buffer* Link::Pull(Stream* stream) {
  if (!senders_.empty() && bucket_.WaitUs(Engine::NowUs()) > 0) {
    throttled_ = true;
    counters_.idle_pulls++;
    return nullptr;
  }
  bool wants_room = false;
  for (size_t tried = 0; tried < senders_.size(); tried++) {
    Sender& sender = *senders_[turn_++ % senders_.size()];
    bool reinjected = false;
    Buffer* buffer = sender.Pull(stream, &reinjected);
    if (buffer == nullptr) {
      wants_room = wants_room || sender.WantsRoom();
      continue;
    }
    counters_.chunks_sent++;
    if (reinjected) counters_.chunks_reinjected++;
    if (!Renew(buffer)) sender.Fail("ERR_DWCP_CORRUPT", "a chunk was damaged while it waited");
    return buffer;
  }
  if (!wants_room) {
    counters_.idle_pulls++;
    hungry_pulls_++;
  }
  return nullptr;
}

void Link::Acked(const Buffer& buffer) {
  acked_bytes_ += buffer.frame_bytes();
  Stream* stream = engine_->stream(buffer.stream);
  if (stream == nullptr) return;
  stream->acked_bytes += buffer.frame_bytes();
  if (tuning_progress_.IsNews(buffer.tuning, stream->tuning)) {
    tuning_progress_.Acknowledged(Engine::NowUs(), &stream->tuning);
  }
}

// Acknowledgements come in bursts: intervals are longer than a round trip.
void Link::MeasureWire(uint64_t now_us) {
  const uint64_t took_us = now_us - interval_.at_us;
  if (took_us < kWireIntervalUs) return;
  const uint64_t chunks = counters_.chunks_sent - interval_.chunks;
  const uint64_t hungry = hungry_pulls_ - interval_.hungry_pulls;
  if (interval_.at_us > 0 && chunks > 0) {
    chooser_.Acknowledged(acked_bytes_ - interval_.acked_bytes, took_us, hungry * 4 > chunks);
  }
  interval_ = {now_us, acked_bytes_, counters_.chunks_sent, hungry_pulls_};
}

void Link::Tick(uint64_t now_us) {
  for (auto& receiver : receivers_) {
    if (!receiver) continue;
    receiver->refusals().Tick();
    if (!receiver->refusals().untold()) continue;
    for (Stream* stream : streams_) stream->AcksDue();
  }
  if (senders_.empty() || streams_.empty()) return;
  if (encodes()) MeasureWire(now_us);
  // One stream's path per tick, each in turn: 512 of them would cost more than they tell.
  staging_target_.Measure(now_us, acked_bytes_,
                          streams_[measured_turn_++ % streams_.size()]->MinRttUs());
  for (auto& sender : senders_) sender->LimitOutstanding(staging_target_.bytes());
  // A stream that KickOne chose may be stuck on a full socket while others idle.
  Kick();
}

bool Link::MayPull() {
  return std::any_of(senders_.begin(), senders_.end(),
                     [](const auto& sender) { return sender->MayPull(); });
}

void Link::Kick() {
  engine_->KickEncoders();
  if (!MayPull()) return;
  for (Stream* stream : streams_) stream->Arm();
}

void Link::KickOne() {
  engine_->KickEncoders();
  if (!MayPull() || streams_.empty()) return;
  const bool has_bound_one = std::any_of(senders_.begin(), senders_.end(), [](const auto& sender) {
    return sender->uses_one_stream();
  });
  if (has_bound_one) streams_.front()->Arm();
  for (size_t tried = 0; tried < streams_.size(); tried++) {
    Stream* stream = streams_[kick_turn_++ % streams_.size()];
    if (stream->armed()) continue;
    stream->Arm();
    return;
  }
}

bool Link::AddSender(std::unique_ptr<Sender> sender) {
  if (senders_.size() >= kSendersMax) return false;
  engine_->Register(sender.get(), id_);
  sender->LimitOutstanding(staging_target_.bytes());
  senders_.push_back(std::move(sender));
  return true;
}

bool Link::AddReceiver(std::unique_ptr<Receiver> receiver) {
  for (auto& slot : receivers_) {
    if (slot) continue;
    engine_->Register(receiver.get(), id_);
    AckChanged(receiver.get());
    slot = std::move(receiver);
    content_.Announce(slot->name());
    // The sender may send only one chunk before it knows our credit.
    for (Stream* stream : streams_) stream->AcksDue();
    return true;
  }
  return false;
}

void Link::RemoveSender(int handle) {
  for (auto it = senders_.begin(); it != senders_.end(); ++it) {
    if ((*it)->handle() != handle) continue;
    (*it)->Drop();
    senders_.erase(it);
    return;
  }
}

void Link::RemoveReceiver(int handle) {
  for (auto& slot : receivers_) {
    if (slot && slot->handle() == handle) slot.reset();
  }
}

Sender* Link::FindSender(uint64_t transfer_id, uint32_t epoch) {
  for (auto& sender : senders_) {
    if (sender->name().id == transfer_id && sender->name().epoch == epoch) return sender.get();
  }
  return nullptr;
}

Receiver* Link::FindReceiver(uint64_t transfer_id, uint32_t epoch) {
  for (auto& slot : receivers_) {
    if (slot && slot->name().id == transfer_id && slot->name().epoch == epoch) return slot.get();
  }
  return nullptr;
}

bool Link::HasReceivers() const {
  return std::any_of(receivers_.begin(), receivers_.end(),
                     [](const auto& slot) { return slot != nullptr; });
}

void Link::Fail(const std::string& code, const std::string& message) {
  for (auto& sender : senders_) sender->Fail(code, message);
  for (auto& slot : receivers_) {
    if (slot) slot->Fail(code, message);
  }
}

}  // namespace dwcp
