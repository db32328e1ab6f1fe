// Staging buffers: one chunk each, re-used last in first out so that the next chunk is cache-warm.
#pragma once
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "crypto/sealer.h"
#include "engine/frame.h"

namespace dwcp {

// What is left of these parts from byte `offset` on, empty ones skipped. Returns how many.
template <size_t N>
int PartsFrom(size_t offset, const std::array<iovec, N>& whole, iovec* parts) {
  int count = 0;
  for (const iovec& part : whole) {
    if (offset >= part.iov_len) {
      offset -= part.iov_len;
      continue;
    }
    parts[count++] = {static_cast<uint8_t*>(part.iov_base) + offset, part.iov_len - offset};
    offset = 0;
  }
  return count;
}

struct Buffer {
  explicit Buffer(size_t bytes) { Reserve(bytes); }
  ~Buffer() { Free(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void Reserve(size_t bytes) {
    if (bytes <= capacity) return;
    Free();
    payload = static_cast<uint8_t*>(::operator new (bytes, std::align_val_t{4096}));
    capacity = bytes;
  }
  uint8_t* header() { return meta; }
  MapEntry* map() { return reinterpret_cast<MapEntry*>(meta + kHeaderBytes); }
  uint64_t frame_bytes() const {
    return meta_bytes + uint64_t{payload_bytes} + (sealer == nullptr ? 0 : kSealBytes);
  }

  // The frame as it goes out from byte `offset` on. Returns how many parts.
  static constexpr int kPartsMax = 5;
  int Parts(size_t offset, iovec* parts) {
    const bool sealed = sealer != nullptr;
    return PartsFrom<kPartsMax>(offset,
                                {{{meta, kHeaderBytes},
                                  {nonce, sealed ? kNonceBytes : 0},
                                  {meta + kHeaderBytes, meta_bytes - kHeaderBytes},
                                  {payload, payload_bytes},
                                  {seal_tag, sealed ? kSealTagBytes : 0}}},
                                parts);
  }
  // Puts what lies after the header under the sealer's current key: the bytes are ciphertext from
  // then on, and the same ones whenever the chunk is sent again.
  void Seal(const std::shared_ptr<Sealer>& by) {
    sealer = by;
    const SealPart body[2] = {{meta + kHeaderBytes, meta_bytes - kHeaderBytes},
                              {payload, payload_bytes}};
    sealer->SealChunk({meta, kHeaderBytes}, body, 2, nonce, seal_tag);
  }
  // Under another key or a fresh nonce. The plain bytes are no longer at hand, but what sealed them
  // lives as long as they do. False when the bytes were damaged in memory.
  bool SealAnew(const std::shared_ptr<Sealer>& by) {
    const SealPart body[2] = {{meta + kHeaderBytes, meta_bytes - kHeaderBytes},
                              {payload, payload_bytes}};
    if (!sealer->Unseal(nonce, {meta, kHeaderBytes}, body, 2, seal_tag)) return false;
    Seal(by);
    return true;
  }

  // What lets a card read this buffer, once somebody posted it: for as long as the payload stays.
  struct Pins {
    std::shared_ptr<const void> payload, meta;
    const void* domain = nullptr;
    uint32_t payload_key = 0, meta_key = 0;
  };
  Pins pins;
  uint8_t* payload = nullptr;
  size_t capacity = 0;
  uint32_t meta_bytes = 0;  // header and map
  uint32_t payload_bytes = 0;
  uint32_t raw_bytes = 0;          // what the payload holds before the codec
  uint32_t page_count = 0;         // pages that this chunk names, zero pages included
  uint32_t named_pages = 0;        // of these, as a delta or by their hash
  bool end = false;                // the last chunk of a byte stream
  int writers = 0;                 // streams that are sending it right now
  int stream = -1;                 // that it was last given to
  uint32_t tuning = 0;             // of the link, when it was named
  bool released = false;           // acknowledged: goes back to the pool with its last writer
  std::shared_ptr<Sealer> sealer;  // of a chunk to send: what sealed it
  uint8_t nonce[kNonceBytes];
  uint8_t seal_tag[kSealTagBytes];
  alignas(64) uint8_t meta[kHeaderBytes + kMapBytesMax];

 private:
  void Free() {
    pins = Pins{};
    if (payload != nullptr) ::operator delete (payload, std::align_val_t{4096});
  }
};

class BufferPool {
 public:
  explicit BufferPool(size_t chunk_bytes) : chunk_bytes_(chunk_bytes) {}
  Buffer* Take() {
    if (free_.empty()) {
      all_.push_back(std::make_unique<Buffer>(chunk_bytes_));
      free_.reserve(all_.size());
      return all_.back().get();
    }
    Buffer* buffer = free_.back();
    free_.pop_back();
    buffer->Reserve(chunk_bytes_);
    return buffer;
  }
  void Give(Buffer* buffer) {
    buffer->meta_bytes = buffer->payload_bytes = buffer->raw_bytes = buffer->page_count = 0;
    buffer->writers = 0;
    buffer->named_pages = 0;
    buffer->released = buffer->end = false;
    buffer->sealer.reset();
    free_.push_back(buffer);
  }
  // For buffers that are taken from now on; those that are out stay as they are.
  void SetChunkBytes(size_t chunk_bytes) { chunk_bytes_ = chunk_bytes; }
  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const auto& buffer : all_) sum += buffer->capacity;
    return sum;
  }

 private:
  size_t chunk_bytes_;
  std::vector<std::unique_ptr<Buffer>> all_;
  std::vector<Buffer*> free_;
};

}  // namespace dwcp
