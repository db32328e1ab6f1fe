#include "binding/codec_binding.h"

#include <time.h>

#include <cstring>
#include <string>
#include <vector>

#include "binding/codec_policy.h"
#include "codec/chooser.h"
#include "codec/delta.h"
#include "codec/page_decoder.h"
#include "codec/page_encoder.h"
#include "memory/region.h"

namespace dwcp {
namespace {

void Set(Napi::Object& out, const char* name, uint64_t value) {
  out.Set(name, static_cast<double>(value));
}

uint64_t Wide(const Napi::Value& value) {
  return static_cast<uint64_t>(value.As<Napi::Number>().Int64Value());
}

Napi::Object ChoiceObject(Napi::Env env, const CodecChoice& choice) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("codec", CodecName(choice.codec));
  out.Set("level", choice.level);
  return out;
}

class ChooserWrap : public Napi::ObjectWrap<ChooserWrap> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "CodecChooser",
        {InstanceMethod<&ChooserWrap::SetPolicy>("setPolicy"),
         InstanceMethod<&ChooserWrap::Next>("next"), InstanceMethod<&ChooserWrap::Best>("best"),
         InstanceMethod<&ChooserWrap::Encoded>("encoded"),
         InstanceMethod<&ChooserWrap::Acknowledged>("acknowledged")});
  }
  explicit ChooserWrap(const Napi::CallbackInfo& info)
      : ObjectWrap(info), chooser_(info[0].As<Napi::Number>().Uint32Value()) {}

 private:
  void SetPolicy(const Napi::CallbackInfo& info) { chooser_.SetPolicy(PolicyFrom(info, 0)); }
  Napi::Value Next(const Napi::CallbackInfo& info) {
    return ChoiceObject(info.Env(), chooser_.Next());
  }
  Napi::Value Best(const Napi::CallbackInfo& info) {
    return ChoiceObject(info.Env(), chooser_.Best());
  }
  // codec, level, raw bytes, encoded bytes, microseconds
  void Encoded(const Napi::CallbackInfo& info) {
    const CodecChoice choice{CodecFrom(info[0]), info[1].As<Napi::Number>().Int32Value()};
    chooser_.Encoded(choice, Wide(info[2]), Wide(info[3]), Wide(info[4]));
  }
  // bytes, microseconds, whether the wire was starved
  void Acknowledged(const Napi::CallbackInfo& info) {
    chooser_.Acknowledged(Wide(info[0]), Wide(info[1]), info[2].As<Napi::Boolean>());
  }

  CodecChooser chooser_;
};

// Processor time of this thread: what else runs on the machine is no figure of a codec.
uint64_t ThreadUs() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

// Whether page `i` of the sample became what it was.
bool Same(const std::vector<MapEntry>& map, const EncodedPages& built, const uint8_t* records,
          const uint8_t* pages) {
  alignas(64) static const uint8_t zeros[kPageBytes] = {};
  for (uint32_t i = 0; i < built.map_entries; i++) {
    for (uint32_t j = 0; j < map[i].count(); j++) {
      const uint8_t* page = pages + (uint64_t{map[i].first_page} + j) * kPageBytes;
      if (std::memcmp(page, map[i].zero() ? zeros : records, kPageBytes) != 0) return false;
      if (!map[i].zero()) records += kPageBytes;
    }
  }
  return true;
}

// pages, kind, codec, level, chunk bytes, wire bytes per second -> what a sender and a receiver
// would have made of them, each on one thread. Without deltas: those need a second version.
Napi::Value EncodeSample(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto bytes = info[0].As<Napi::Uint8Array>();
  CodecPolicy policy = PolicyFrom(info, 1);
  const uint32_t chunk_bytes = info[4].As<Napi::Number>().Uint32Value();
  const uint64_t wire_rate = Wide(info[5]);
  CodecChooser chooser(1);
  chooser.SetPolicy(policy);
  if (wire_rate > 0) chooser.Acknowledged(wire_rate, 1000000, false);
  PageEncoder encoder;
  PageDecoder decoder;
  std::vector<MapEntry> map(kMapEntriesMax);
  std::vector<uint8_t> out(chunk_bytes);
  const uint64_t count = bytes.ByteLength() / kPageBytes;
  EncodedPages sum;
  uint64_t wire_bytes = 0, chunks = 0, encode_us = 0, decode_us = 0, compressed = 0, raw = 0;
  for (uint64_t page = 0; page < count; chunks++) {
    const CodecChoice choice = chooser.Next();
    const uint64_t start_us = ThreadUs();
    encoder.Begin(map.data(), chunk_bytes, {});
    for (; page < count && !encoder.full(); page++) {
      encoder.Add(page, bytes.Data() + page * kPageBytes);
    }
    const EncodedPages built = encoder.Finish(choice, out.data());
    const uint64_t encoded_us = ThreadUs();
    FrameHeader header{};
    header.flags = static_cast<uint32_t>(built.codec) << kCodecShift;
    header.map_entries = built.map_entries;
    header.raw_bytes = built.raw_bytes;
    header.encoded_bytes = built.encoded_bytes;
    const uint8_t* records = decoder.Decode(header, map.data(), out.data());
    const uint64_t decoded_us = ThreadUs();
    if (records == nullptr || !Same(map, built, records, bytes.Data())) {
      throw Napi::Error::New(env, "a sample did not survive its codec");
    }
    if (!built.random && built.raw_bytes >= chunk_bytes / 2) {
      chooser.Encoded(choice, built.raw_bytes, built.encoded_bytes, encoded_us - start_us);
    }
    encode_us += encoded_us - start_us;
    decode_us += decoded_us - encoded_us;
    wire_bytes += kHeaderBytes + built.map_entries * sizeof(MapEntry) + built.encoded_bytes;
    sum.zero += built.zero;
    (built.codec == Codec::kNone ? raw : compressed) += built.whole;
  }
  Napi::Object result = Napi::Object::New(env);
  Set(result, "zeroPages", sum.zero);
  Set(result, "compressedPages", compressed);
  Set(result, "rawPages", raw);
  Set(result, "chunks", chunks);
  Set(result, "wireBytes", wire_bytes);
  Set(result, "encodeUs", encode_us);
  Set(result, "decodeUs", decode_us);
  result.Set("last", ChoiceObject(env, chooser.Best()));
  return result;
}

Napi::Uint8Array Page(const Napi::CallbackInfo& info, size_t index) {
  const auto bytes = info[index].As<Napi::Uint8Array>();
  if (bytes.ByteLength() != kPageBytes) {
    throw Napi::RangeError::New(info.Env(), "a page is 4096 bytes");
  }
  return bytes;
}

// a, b, scalar -> indices of the words that differ
Napi::Value DifferentWordsOf(const Napi::CallbackInfo& info) {
  const bool scalar = info[2].As<Napi::Boolean>();
  const auto run = scalar ? scalar::DifferentWords : DifferentWords;
  const WordSet set = run(Page(info, 0).Data(), Page(info, 1).Data());
  Napi::Array words = Napi::Array::New(info.Env());
  for (uint32_t i = 0; i < kPageWords; i++) {
    if ((set.bits[i / 64] >> i % 64 & 1) != 0) words.Set(words.Length(), i);
  }
  return words;
}

// base, page -> delta, or null
Napi::Value Delta(const Napi::CallbackInfo& info) {
  uint8_t out[kDeltaBytesMax];
  const int bytes = EncodeDelta(Page(info, 0).Data(), Page(info, 1).Data(), out);
  if (bytes < 0) return info.Env().Null();
  return Napi::Buffer<uint8_t>::Copy(info.Env(), out, static_cast<size_t>(bytes));
}

// page, delta -> whether it was one, and the page is then changed
Napi::Value Apply(const Napi::CallbackInfo& info) {
  const auto delta = info[1].As<Napi::Uint8Array>();
  const bool fine = CheckDelta(delta.Data(), delta.ByteLength());
  if (fine) ApplyDelta(Page(info, 0).Data(), delta.Data(), delta.ByteLength());
  return Napi::Boolean::New(info.Env(), fine);
}

}  // namespace

void RegisterCodec(Napi::Env env, Napi::Object exports) {
  exports.Set("CodecChooser", ChooserWrap::Define(env));
  exports.Set("encodeSample", Napi::Function::New<EncodeSample>(env));
  exports.Set("differentWords", Napi::Function::New<DifferentWordsOf>(env));
  exports.Set("encodeDelta", Napi::Function::New<Delta>(env));
  exports.Set("applyDelta", Napi::Function::New<Apply>(env));
}

}  // namespace dwcp
