#include "memory/page_set.h"

#include <algorithm>

namespace dwcp {

void PageSet::AddRange(uint64_t first, uint64_t count) {
  uint64_t page = first;
  const uint64_t end = first + count;
  while (page < end && page % 64 != 0) Add(page++);
  while (page + 64 <= end) {
    words_[page / 64] = ~uint64_t{0};
    page += 64;
  }
  while (page < end) Add(page++);
}

void PageSet::Clear() { std::fill(words_.begin(), words_.end(), 0); }

void PageSet::Union(const PageSet& other) {
  const size_t count = std::min(words_.size(), other.words_.size());
  for (size_t i = 0; i < count; i++) words_[i] |= other.words_[i];
}

uint64_t PageSet::Size() const {
  uint64_t size = 0;
  for (uint64_t word : words_) size += static_cast<uint64_t>(__builtin_popcountll(word));
  return size;
}

uint64_t PageSet::Next(uint64_t from) const {
  if (from >= page_count_) return page_count_;
  size_t index = from / 64;
  uint64_t word = words_[index] & (~uint64_t{0} << (from % 64));
  while (word == 0) {
    if (++index == words_.size()) return page_count_;
    word = words_[index];
  }
  return index * 64 + static_cast<uint64_t>(__builtin_ctzll(word));
}

}  // namespace dwcp
