#include "binding/engine_wrap.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "binding/cache_wrap.h"
#include "binding/codec_policy.h"
#include "binding/page_set_wrap.h"
#include "binding/region_wrap.h"
#include "engine/local_socket.h"

namespace dwcp {
namespace {

constexpr int kTcpInfo = 11;        // TCP_INFO
constexpr int kTcpCongestion = 13;  // TCP_CONGESTION

int Int(const Napi::CallbackInfo& info, size_t index) {
  return info[index].As<Napi::Number>().Int32Value();
}

uint64_t Wide(const Napi::CallbackInfo& info, size_t index) {
  return static_cast<uint64_t>(info[index].As<Napi::Number>().Int64Value());
}

TransferName Name(const Napi::CallbackInfo& info, size_t index) {
  return {Wide(info, index), info[index + 1].As<Napi::Number>().Uint32Value()};
}

Napi::Value ErrnoName(Napi::Env env, int error_number) {
  if (error_number == 0) return env.Null();
  const char* name = strerrorname_np(error_number);
  return Napi::String::New(env, name == nullptr ? "UNKNOWN" : name);
}

Napi::Value Bytes(Napi::Env env, const std::vector<uint8_t>& bytes) {
  return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size());
}

// A handle, or the errno name of why not.
Napi::Value HandleOrErrno(Napi::Env env, int result) {
  if (result < 0) return ErrnoName(env, -result);
  return Napi::Number::New(env, result);
}

void Set(Napi::Object object, const char* name, uint64_t value) {
  object.Set(name, Napi::Number::New(object.Env(), static_cast<double>(value)));
}

// Read back from the kernel: what was asked is not what is in use when it lacks the module.
std::string CongestionOf(int fd) {
  char name[16] = {};
  socklen_t size = sizeof name - 1;
  getsockopt(fd, IPPROTO_TCP, kTcpCongestion, name, &size);
  return name;
}

void Deliver(Napi::Env env, Napi::Function listener, Engine* engine) {
  const std::vector<Event> events = engine->TakeEvents();
  Napi::Array batch = Napi::Array::New(env, events.size());
  for (uint32_t i = 0; i < events.size(); i++) {
    const Event& event = events[i];
    Napi::Object object = Napi::Object::New(env);
    object.Set("type", event.type);
    object.Set("id", event.id);
    object.Set("code", event.code);
    object.Set("message", event.message);
    object.Set("errno", ErrnoName(env, event.error_number));
    object.Set("bytes", Bytes(env, event.bytes));
    object.Set("challenge", Bytes(env, event.challenge));
    batch.Set(i, object);
  }
  if (events.empty()) return;
  listener.Call({batch});
  // What came back over carried streams waits for us: its reader may go on.
  Engine::Guard guard(engine);
  for (const Event& event : events) {
    if (std::strcmp(event.type, "return") != 0) continue;
    auto* receiver = dynamic_cast<ByteReceiver*>(engine->receiver(event.id));
    if (receiver != nullptr) receiver->ReturnTaken(event.bytes.size());
  }
}

}  // namespace

Napi::Function EngineWrap::Define(Napi::Env env) {
  return DefineClass(env, "Engine",
                     {InstanceMethod<&EngineWrap::Listen>("listen"),
                      InstanceMethod<&EngineWrap::Dial>("dial"),
                      InstanceMethod<&EngineWrap::SendJoin>("sendJoin"),
                      InstanceMethod<&EngineWrap::Attach>("attach"),
                      InstanceMethod<&EngineWrap::StreamInfo>("streamInfo"),
                      InstanceMethod<&EngineWrap::SetCongestion>("setCongestion"),
                      InstanceMethod<&EngineWrap::CloseStream>("closeStream"),
                      InstanceMethod<&EngineWrap::OpenLink>("openLink"),
                      InstanceMethod<&EngineWrap::SetKeys>("setKeys"),
                      InstanceMethod<&EngineWrap::SetRdma>("setRdma"),
                      InstanceMethod<&EngineWrap::SetMaxBandwidth>("setMaxBandwidth"),
                      InstanceMethod<&EngineWrap::SetCodecPolicy>("setCodecPolicy"),
                      InstanceMethod<&EngineWrap::ShareContent>("shareContent"),
                      InstanceMethod<&EngineWrap::TuneLink>("tuneLink"),
                      InstanceMethod<&EngineWrap::LinkTuning>("linkTuning"),
                      InstanceMethod<&EngineWrap::PathFacts>("pathFacts"),
                      InstanceMethod<&EngineWrap::LinkCounters>("linkCounters"),
                      InstanceMethod<&EngineWrap::LinkLanes>("linkLanes"),
                      InstanceMethod<&EngineWrap::CloseLink>("closeLink"),
                      InstanceMethod<&EngineWrap::SendPages>("sendPages"),
                      InstanceMethod<&EngineWrap::ReceivePages>("receivePages"),
                      InstanceMethod<&EngineWrap::SendBytes>("sendBytes"),
                      InstanceMethod<&EngineWrap::ReceiveBytes>("receiveBytes"),
                      InstanceMethod<&EngineWrap::WriteReturn>("writeReturn"),
                      InstanceMethod<&EngineWrap::SendBatch>("sendBatch"),
                      InstanceMethod<&EngineWrap::SendCounters>("sendCounters"),
                      InstanceMethod<&EngineWrap::ReceiveCounters>("receiveCounters"),
                      InstanceMethod<&EngineWrap::Digests>("digests"),
                      InstanceMethod<&EngineWrap::CloseTransfer>("closeTransfer"),
                      InstanceMethod<&EngineWrap::Close>("close")});
}

EngineWrap::EngineWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  notify_ =
      Napi::ThreadSafeFunction::New(info.Env(), info[0].As<Napi::Function>(), "dwcp engine", 0, 1);
  // The queue's closure looks the engine up again: a late call after close finds it or nothing.
  auto slot = std::make_shared<std::weak_ptr<Engine>>();
  const auto notify = [notify = notify_, slot]() {
    notify.NonBlockingCall([slot](Napi::Env env, Napi::Function listener) {
      if (std::shared_ptr<Engine> engine = slot->lock()) Deliver(env, listener, engine.get());
    });
  };
  engine_ = std::make_shared<Engine>(notify, info[1].As<Napi::Number>().Uint32Value(),
                                     info[2].As<Napi::Number>().Uint32Value());
  *slot = engine_;
  info.Env().AddCleanupHook([engine = std::weak_ptr<Engine>(engine_)]() {
    if (std::shared_ptr<Engine> running = engine.lock()) running->Stop();
  });
}

EngineWrap::~EngineWrap() { Stop(); }

void EngineWrap::Stop() {
  if (closed_) return;
  closed_ = true;
  engine_->Stop();
  notify_.Release();
}

void EngineWrap::Close(const Napi::CallbackInfo&) { Stop(); }

Napi::Value EngineWrap::Listen(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  return HandleOrErrno(info.Env(),
                       engine_->Listen(info[0].As<Napi::String>().Utf8Value(), Int(info, 1)));
}

Napi::Value EngineWrap::Dial(const Napi::CallbackInfo& info) {
  const std::string host = info[0].As<Napi::String>().Utf8Value();
  const std::string local = info[2].As<Napi::String>().Utf8Value();
  const std::string congestion = info[3].As<Napi::String>().Utf8Value();
  Engine::Guard guard(engine_.get());
  return HandleOrErrno(info.Env(),
                       engine_->Dial(host, Int(info, 1), local, congestion, Wide(info, 4)));
}

void EngineWrap::SendJoin(const Napi::CallbackInfo& info) {
  const auto message = info[1].As<Napi::Uint8Array>();
  Engine::Guard guard(engine_.get());
  Stream* stream = engine_->stream(Int(info, 0));
  if (stream != nullptr) stream->SendJoin(message.Data(), message.ByteLength());
}

void EngineWrap::Attach(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  Stream* stream = engine_->stream(Int(info, 0));
  Link* link = engine_->link(Int(info, 1));
  if (stream != nullptr && link != nullptr) stream->Attach(link);
}

Napi::Value EngineWrap::StreamInfo(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  Stream* stream = engine_->stream(Int(info, 0));
  if (stream == nullptr || stream->fd() < 0) return info.Env().Null();
  tcp_info tcp{};
  socklen_t size = sizeof tcp;
  if (getsockopt(stream->fd(), IPPROTO_TCP, kTcpInfo, &tcp, &size) < 0) return info.Env().Null();
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("congestionControl", CongestionOf(stream->fd()));
  Set(out, "rttUs", tcp.tcpi_rtt);
  Set(out, "rttVarUs", tcp.tcpi_rttvar);
  Set(out, "congestionWindowBytes", uint64_t{tcp.tcpi_snd_cwnd} * tcp.tcpi_snd_mss);
  Set(out, "retransmits", tcp.tcpi_total_retrans);
  Set(out, "deliveryRateBytesPerSec", tcp.tcpi_delivery_rate);
  Set(out, "bytesSent", tcp.tcpi_bytes_sent);
  Set(out, "bytesReceived", tcp.tcpi_bytes_received);
  // The kernel's word for unlimited is all ones: no number of ours.
  Set(out, "pacingRateBytesPerSec",
      tcp.tcpi_pacing_rate == ~uint64_t{0} ? 0 : uint64_t{tcp.tcpi_pacing_rate});
  return out;
}

void EngineWrap::SetCongestion(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  const Stream* stream = engine_->stream(Int(info, 0));
  if (stream == nullptr || stream->fd() < 0) return;
  const std::string name = info[1].As<Napi::String>();
  setsockopt(stream->fd(), IPPROTO_TCP, kTcpCongestion, name.data(),
             static_cast<socklen_t>(name.size()));
}

void EngineWrap::CloseStream(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  Stream* stream = engine_->stream(Int(info, 0));
  if (stream != nullptr) stream->Close("", "");
}

Napi::Value EngineWrap::OpenLink(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  const uint64_t window_bytes = Wide(info, 0);
  const uint32_t chunk_bytes = info[1].As<Napi::Number>().Uint32Value();
  return Napi::Number::New(info.Env(), engine_->OpenLink(window_bytes, chunk_bytes)->id());
}

// (link, keyBytes, sendSecret, receiveSecret, bytesPerKey): 0 key bytes mean frames with a CRC.
// False when open transfers stand in the way.
Napi::Value EngineWrap::SetKeys(const Napi::CallbackInfo& info) {
  const size_t key_bytes = info[1].As<Napi::Number>().Uint32Value();
  std::shared_ptr<LinkKeys> keys;
  if (key_bytes > 0) {
    SealLimits limits;
    if (const uint64_t bytes = Wide(info, 4)) limits.bytes_per_key = bytes;
    keys = std::make_shared<LinkKeys>(info[2].As<Napi::Uint8Array>().Data(),
                                      info[3].As<Napi::Uint8Array>().Data(), key_bytes, limits);
  }
  Engine::Guard guard(engine_.get());
  Link* link = engine_->link(Int(info, 0));
  return Napi::Boolean::New(info.Env(), link == nullptr || link->SetKeys(std::move(keys)));
}

// (link, wish, why): off, prefer or require; why it is off, where somebody asked for more.
void EngineWrap::SetRdma(const Napi::CallbackInfo& info) {
  const std::string wish = info[1].As<Napi::String>();
  Engine::Guard guard(engine_.get());
  if (Link* link = engine_->link(Int(info, 0))) {
    const RdmaWish wished = wish == "require"  ? RdmaWish::kRequire
                            : wish == "prefer" ? RdmaWish::kPrefer
                                               : RdmaWish::kOff;
    link->SetRdma(wished, info[2].As<Napi::String>());
  }
}

void EngineWrap::SetMaxBandwidth(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  if (Link* link = engine_->link(Int(info, 0))) link->SetMaxBandwidth(Wide(info, 1));
}

void EngineWrap::SetCodecPolicy(const Napi::CallbackInfo& info) {
  CodecPolicy policy = PolicyFrom(info, 1);
  policy.baseline_bytes = Wide(info, 4);
  Engine::Guard guard(engine_.get());
  if (Link* link = engine_->link(Int(info, 0))) link->SetCodecPolicy(policy);
}

void EngineWrap::ShareContent(const Napi::CallbackInfo& info) {
  std::shared_ptr<ContentStore> store = ContentCacheWrap::From(info[1]).store();
  Engine::Guard guard(engine_.get());
  if (Link* link = engine_->link(Int(info, 0))) link->content().Share(std::move(store));
}

Napi::Value EngineWrap::TuneLink(const Napi::CallbackInfo& info) {
  Tuning tuning;
  tuning.congestion = info[1].As<Napi::String>();
  tuning.chunk_bytes = info[2].As<Napi::Number>().Uint32Value();
  tuning.unread_timeout_ms = info[3].As<Napi::Number>().Uint32Value();
  tuning.unsent_bytes = info[4].As<Napi::Number>().Uint32Value();
  Engine::Guard guard(engine_.get());
  Link* link = engine_->link(Int(info, 0));
  return ErrnoName(info.Env(), link == nullptr ? EBADF : -link->Tune(tuning));
}

Napi::Value EngineWrap::LinkTuning(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  Link* link = engine_->link(Int(info, 0));
  if (link == nullptr) return info.Env().Null();
  const TuningProgress& progress = link->tuning_progress();
  uint64_t effective = 0;
  uint64_t effective_us = 0;
  for (const Stream* stream : link->streams()) {
    if (stream->tuning.number != progress.number()) continue;
    effective++;
    effective_us = std::max(effective_us, stream->tuning.effective_us);
  }
  Napi::Object out = Napi::Object::New(info.Env());
  Set(out, "chunkBytes", link->chunk_bytes());
  Set(out, "streams", link->streams().size());
  Set(out, "effectiveStreams", effective);
  Set(out, "effectiveUs", effective_us);
  Set(out, "stallUs", progress.stall_us());
  return out;
}

Napi::Value EngineWrap::PathFacts(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  Link* link = engine_->link(Int(info, 0));
  if (link == nullptr) return info.Env().Null();
  const struct PathFacts facts = link->Facts(Wide(info, 1));
  Napi::Object out = Napi::Object::New(info.Env());
  Set(out, "streams", facts.streams);
  Set(out, "rttUs", facts.rtt_us);
  Set(out, "rttMinUs", facts.rtt_min_us);
  Set(out, "rttVarUs", facts.rtt_var_us);
  Set(out, "segmentsSent", facts.segments_sent);
  Set(out, "segmentsResent", facts.segments_resent);
  Set(out, "busyUs", facts.busy_us);
  Set(out, "heldUs", facts.held_us);
  uint64_t acked_bytes = 0;
  for (const Stream* stream : link->streams()) acked_bytes += stream->acked_bytes;
  Set(out, "ackedBytes", acked_bytes);
  Set(out, "idlePulls", link->counters().idle_pulls);
  return out;
}

Napi::Value EngineWrap::LinkCounters(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  Link* link = engine_->link(Int(info, 0));
  if (link == nullptr) return info.Env().Null();
  const struct LinkCounters& counters = link->counters();
  Napi::Object out = Napi::Object::New(info.Env());
  Set(out, "streams", link->streams().size());
  Set(out, "wireBytesSent", counters.wire_bytes_sent);
  Set(out, "wireBytesReceived", counters.wire_bytes_received);
  Set(out, "chunksSent", counters.chunks_sent);
  Set(out, "chunksReinjected", counters.chunks_reinjected);
  Set(out, "chunksLanded", counters.chunks_landed);
  Set(out, "chunksDuplicate", counters.chunks_duplicate);
  Set(out, "chunksCorrupt", counters.chunks_corrupt);
  Set(out, "keyBits", link->keys() == nullptr ? 0 : link->keys()->key_bytes * 8);
  Set(out, "framesForged", counters.frames_forged);
  Set(out, "framesReplayed", counters.frames_replayed);
  Set(out, "chunksResealed", counters.chunks_resealed);
  Set(out, "stagingBytes", link->pool().bytes());
  const RdmaCounters rdma = link->rdma_counters();
  Napi::Object counts = Napi::Object::New(info.Env());
  Set(counts, "workRequests", rdma.work_requests);
  Set(counts, "doorbells", rdma.doorbells);
  Set(counts, "completions", rdma.completions);
  Set(counts, "arrivals", rdma.arrivals);
  Set(counts, "writtenBytes", rdma.written_bytes);
  Set(counts, "copiedBytes", rdma.copied_bytes);
  Set(counts, "streams", link->rdma_streams());
  Set(counts, "fallbacks", link->rdma_fallbacks());
  counts.Set("fallback", link->rdma_fallback());
  out.Set("rdma", counts);
  return out;
}

Napi::Value EngineWrap::LinkLanes(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  Link* link = engine_->link(Int(info, 0));
  if (link == nullptr) return info.Env().Null();
  Napi::Object out = Napi::Object::New(info.Env());
  Set(out, "idlePulls", link->counters().idle_pulls);
  Napi::Array lanes = Napi::Array::New(info.Env(), link->streams().size());
  uint32_t index = 0;
  for (const Stream* stream : link->streams()) {
    Napi::Object lane = Napi::Object::New(info.Env());
    Set(lane, "stream", stream->id());
    Set(lane, "ackedBytes", stream->acked_bytes);
    lane.Set("congestionControl", CongestionOf(stream->fd()));
    lanes.Set(index++, lane);
  }
  out.Set("lanes", lanes);
  return out;
}

void EngineWrap::CloseLink(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  engine_->CloseLink(Int(info, 0));
}

Napi::Value EngineWrap::SendPages(const Napi::CallbackInfo& info) {
  std::shared_ptr<Region> region = RegionWrap::From(info[3]).region();
  Engine::Guard guard(engine_.get());
  Link* link = engine_->link(Int(info, 0));
  if (link == nullptr) return HandleOrErrno(info.Env(), -EBADF);
  const int handle = engine_->NextHandle();
  auto sender = std::make_unique<PageSender>(link, handle, Name(info, 1), link->window_bytes(),
                                             std::move(region));
  const std::string profile = info[4].As<Napi::String>();
  if (profile == "v1") {
    sender->UsePolicy({CodecPolicy::Kind::kFixed, {Codec::kZstd, 3}, 0});
    sender->UseOneStream();
  }
  const bool added = link->AddSender(std::move(sender));
  return HandleOrErrno(info.Env(), added ? handle : -ENOSPC);
}

Napi::Value EngineWrap::ReceivePages(const Napi::CallbackInfo& info) {
  std::shared_ptr<Region> region = RegionWrap::From(info[3]).region();
  Engine::Guard guard(engine_.get());
  Link* link = engine_->link(Int(info, 0));
  if (link == nullptr) return HandleOrErrno(info.Env(), -EBADF);
  const int handle = engine_->NextHandle();
  const bool added = link->AddReceiver(std::make_unique<PageReceiver>(
      link, handle, Name(info, 1), link->window_bytes(), std::move(region)));
  return HandleOrErrno(info.Env(), added ? handle : -ENOSPC);
}

Napi::Value EngineWrap::SendBytes(const Napi::CallbackInfo& info) {
  const std::string path = info[3].As<Napi::String>().Utf8Value();
  Engine::Guard guard(engine_.get());
  Link* link = engine_->link(Int(info, 0));
  if (link == nullptr) return HandleOrErrno(info.Env(), -EBADF);
  const int fd = ListenLocal(path);
  if (fd < 0) return HandleOrErrno(info.Env(), fd);
  const int handle = engine_->NextHandle();
  const bool added = link->AddSender(
      std::make_unique<ByteSender>(link, handle, Name(info, 1), Wide(info, 4), fd, path));
  return HandleOrErrno(info.Env(), added ? handle : -ENOSPC);
}

Napi::Value EngineWrap::ReceiveBytes(const Napi::CallbackInfo& info) {
  const std::string path = info[3].As<Napi::String>().Utf8Value();
  Engine::Guard guard(engine_.get());
  Link* link = engine_->link(Int(info, 0));
  if (link == nullptr) return HandleOrErrno(info.Env(), -EBADF);
  const int fd = ConnectLocal(path);
  if (fd < 0) return HandleOrErrno(info.Env(), fd);
  const int handle = engine_->NextHandle();
  const bool added = link->AddReceiver(
      std::make_unique<ByteReceiver>(link, handle, Name(info, 1), Wide(info, 4), fd));
  return HandleOrErrno(info.Env(), added ? handle : -ENOSPC);
}

void EngineWrap::WriteReturn(const Napi::CallbackInfo& info) {
  const auto bytes = info[1].As<Napi::Uint8Array>();
  Engine::Guard guard(engine_.get());
  auto* sender = dynamic_cast<ByteSender*>(engine_->sender(Int(info, 0)));
  if (sender != nullptr) sender->WriteReturn(bytes.Data(), bytes.ByteLength());
}

Napi::Value EngineWrap::SendBatch(const Napi::CallbackInfo& info) {
  PageSet& pages = PageSetWrap::From(info[1]).set();
  Engine::Guard guard(engine_.get());
  auto* sender = dynamic_cast<PageSender*>(engine_->sender(Int(info, 0)));
  if (sender == nullptr) return HandleOrErrno(info.Env(), -EBADF);
  if (pages.page_count() != sender->page_count()) return HandleOrErrno(info.Env(), -EINVAL);
  return HandleOrErrno(info.Env(), sender->Send(pages) ? 0 : -ENOSPC);
}

Napi::Value EngineWrap::SendCounters(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  Sender* sender = engine_->sender(Int(info, 0));
  if (sender == nullptr) return info.Env().Null();
  const struct SendCounters counters = sender->counters();
  Napi::Object out = Napi::Object::New(info.Env());
  Set(out, "zeroPages", counters.zero_pages);
  Set(out, "duplicatePages", counters.duplicate_pages);
  Set(out, "deltaPages", counters.delta_pages);
  Set(out, "compressedPages", counters.compressed_pages);
  Set(out, "rawPages", counters.raw_pages);
  Set(out, "rawBytes", counters.raw_bytes);
  Set(out, "wireBytes", counters.wire_bytes);
  Set(out, "ackedBytes", counters.acked_bytes);
  Set(out, "pendingPages", counters.pending_pages);
  Set(out, "baselineBytes", counters.baseline_bytes);
  Set(out, "localBytes", counters.local_bytes);
  return out;
}

Napi::Value EngineWrap::ReceiveCounters(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  Receiver* receiver = engine_->receiver(Int(info, 0));
  if (receiver == nullptr) return info.Env().Null();
  const struct ReceiveCounters counters = receiver->counters();
  Napi::Object out = Napi::Object::New(info.Env());
  Set(out, "landedPages", counters.landed_pages);
  Set(out, "stalePages", counters.stale_pages);
  Set(out, "landedBytes", counters.landed_bytes);
  Set(out, "refusedPages", counters.refused_pages);
  Set(out, "localBytes", counters.local_bytes);
  Set(out, "wireBytes", counters.wire_bytes);
  return out;
}

Napi::Value EngineWrap::Digests(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  auto* receiver = dynamic_cast<PageReceiver*>(engine_->receiver(Int(info, 0)));
  if (receiver == nullptr) return info.Env().Null();
  const uint64_t first = Wide(info, 1);
  const uint64_t count = Wide(info, 2);
  const std::vector<PageDigest>& all = receiver->digests();
  if (first > all.size() || count > all.size() - first) {
    throw Napi::RangeError::New(info.Env(), "pages outside of the region");
  }
  return Napi::Buffer<uint8_t>::Copy(
      info.Env(), reinterpret_cast<const uint8_t*>(all.data() + first), count * sizeof(PageDigest));
}

void EngineWrap::CloseTransfer(const Napi::CallbackInfo& info) {
  Engine::Guard guard(engine_.get());
  engine_->CloseTransfer(Int(info, 0));
}

}  // namespace dwcp
