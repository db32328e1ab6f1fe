// Staging buffers: one chunk each, re-used last in first out so that the next chunk is cache-warm.
#pragma once
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "engine/frame.h"

namespace dwcp {

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
  uint64_t frame_bytes() const { return meta_bytes + uint64_t{payload_bytes}; }

  uint8_t* payload = nullptr;
  size_t capacity = 0;
  uint32_t meta_bytes = 0;  // header and map
  uint32_t payload_bytes = 0;
  uint32_t page_count = 0;  // pages that this chunk names, zero pages included
  bool end = false;         // the last chunk of a byte stream
  int writers = 0;          // streams that are sending it right now
  int stream = -1;          // that it was last given to
  bool released = false;    // acknowledged: goes back to the pool with its last writer
  alignas(64) uint8_t meta[kHeaderBytes + kMapBytesMax];

 private:
  void Free() {
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
    return buffer;
  }
  void Give(Buffer* buffer) {
    buffer->meta_bytes = buffer->payload_bytes = buffer->page_count = 0;
    buffer->writers = 0;
    buffer->released = buffer->end = false;
    free_.push_back(buffer);
  }
  uint64_t bytes() const { return all_.size() * uint64_t{chunk_bytes_}; }

 private:
  size_t chunk_bytes_;
  std::vector<std::unique_ptr<Buffer>> all_;
  std::vector<Buffer*> free_;
};

}  // namespace dwcp
