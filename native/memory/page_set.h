// PageSet: which pages of a region, as a bitmap.
#pragma once
#include <cstdint>
#include <vector>

namespace dwcp {

class PageSet {
 public:
  explicit PageSet(uint64_t page_count) : page_count_(page_count), words_((page_count + 63) / 64) {}

  uint64_t page_count() const { return page_count_; }
  bool Has(uint64_t page) const { return (words_[page / 64] >> (page % 64)) & 1; }
  void Add(uint64_t page) { words_[page / 64] |= uint64_t{1} << (page % 64); }
  void Remove(uint64_t page) { words_[page / 64] &= ~(uint64_t{1} << (page % 64)); }
  void AddRange(uint64_t first, uint64_t count);
  void AddAll() { AddRange(0, page_count_); }
  void Clear();
  void Union(const PageSet& other);
  uint64_t Size() const;
  // First page at or after `from` that is in the set, or page_count() when there is none.
  uint64_t Next(uint64_t from) const;

 private:
  uint64_t page_count_;
  std::vector<uint64_t> words_;
};

}  // namespace dwcp
