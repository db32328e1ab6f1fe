#include "cache/content_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <system_error>

#include "memory/region.h"

namespace dwcp {
namespace {

constexpr char kPagesEnding[] = ".pages";
constexpr char kIndexEnding[] = ".index";
constexpr size_t kIdDigits = 16;
constexpr uint64_t kBytesPerPage = kPageBytes + kSegmentEntryBytes;

[[noreturn]] void Throw(int error_number, const std::string& what) {
  throw std::system_error(error_number, std::generic_category(), what);
}

uint64_t PrefixOf(const ContentHash& hash) {
  uint64_t prefix;
  std::memcpy(&prefix, hash.data(), sizeof prefix);
  return prefix;
}

bool WriteAll(int fd, const uint8_t* bytes, size_t count, uint64_t offset) {
  while (count > 0) {
    const ssize_t written = pwrite(fd, bytes, count, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes += written;
    offset += static_cast<uint64_t>(written);
    count -= static_cast<size_t>(written);
  }
  return true;
}

bool ReadAll(int fd, uint8_t* out, size_t count, uint64_t offset) {
  while (count > 0) {
    const ssize_t got = pread(fd, out, count, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    out += got;
    offset += static_cast<uint64_t>(got);
    count -= static_cast<size_t>(got);
  }
  return true;
}

uint64_t SizeOf(int fd) {
  struct stat file;
  return fstat(fd, &file) == 0 ? static_cast<uint64_t>(file.st_size) : 0;
}

// The id in a name such as 000000000000002a.index, or 0.
uint64_t IdOf(const char* name) {
  if (std::strlen(name) != kIdDigits + std::strlen(kIndexEnding)) return 0;
  const char* ending = name + kIdDigits;
  if (std::strcmp(ending, kIndexEnding) != 0 && std::strcmp(ending, kPagesEnding) != 0) return 0;
  uint64_t id = 0;
  for (size_t i = 0; i < kIdDigits; i++) {
    const char digit = name[i];
    const bool is_number = digit >= '0' && digit <= '9';
    if (!is_number && (digit < 'a' || digit > 'f')) return 0;
    id = id << 4 | static_cast<uint64_t>(is_number ? digit - '0' : digit - 'a' + 10);
  }
  return id;
}

}  // namespace

struct ContentStore::Segment {
  uint64_t id = 0;
  int pages_fd = -1;
  int index_fd = -1;  // only while it is appended to
  uint32_t slots = 0;
  uint64_t used = 0;
  // Of each slot the first word of the hash and the short fingerprint.
  struct Held {
    uint64_t prefix;
    uint32_t fingerprint;
    uint32_t slot;
  };
  std::vector<Held> held;

  ~Segment() {
    if (pages_fd >= 0) close(pages_fd);
    if (index_fd >= 0) close(index_fd);
  }
  uint64_t bytes() const { return kSegmentHeaderBytes + slots * kBytesPerPage; }
};

std::shared_ptr<ContentStore> ContentStore::Open(const std::string& directory, uint64_t bytes_max,
                                                 std::shared_ptr<const ContentKey> key) {
  std::shared_ptr<ContentStore> store(new ContentStore(directory, bytes_max, std::move(key)));
  store->Lock();
  store->Load();
  store->Summarise();
  return store;
}

ContentStore::ContentStore(std::string directory, uint64_t bytes_max,
                           std::shared_ptr<const ContentKey> key)
    : directory_(std::move(directory)),
      bytes_max_(std::max(bytes_max, kStoreBytesMin)),
      segment_pages_(static_cast<uint32_t>(
          std::min<uint64_t>(bytes_max_ / kSegmentsWanted / kBytesPerPage, kSegmentPagesMax))),
      key_(std::move(key)) {}

ContentStore::~ContentStore() {
  if (lock_fd_ >= 0) close(lock_fd_);
}

void ContentStore::Lock() {
  if (mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) {
    Throw(errno, "cannot make the content cache " + directory_);
  }
  const std::string path = directory_ + "/lock";
  lock_fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd_ < 0) Throw(errno, "cannot open " + path);
  if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    Throw(ENOTUNIQ, "another process uses the content cache " + directory_);
  }
}

std::string ContentStore::PathOf(uint64_t id, const char* ending) const {
  char name[kIdDigits + 1];
  std::snprintf(name, sizeof name, "%016llx", static_cast<unsigned long long>(id));
  return directory_ + "/" + name + ending;
}

void ContentStore::Load() {
  std::vector<uint64_t> ids;
  DIR* entries = opendir(directory_.c_str());
  if (entries == nullptr) Throw(errno, "cannot read the content cache " + directory_);
  while (const dirent* entry = readdir(entries)) {
    const uint64_t id = IdOf(entry->d_name);
    if (id > 0) ids.push_back(id);
  }
  closedir(entries);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const uint64_t id : ids) LoadSegment(id);
  if (!ids.empty()) next_id_ = ids.back() + 1;
  while (segments_.size() > 0 && (Bytes() > bytes_max_ || segments_.size() > kSegmentsMax)) {
    EvictOne();
  }
}

void ContentStore::LoadSegment(uint64_t id) {
  const std::string index_path = PathOf(id, kIndexEnding);
  const std::string pages_path = PathOf(id, kPagesEnding);
  auto segment = std::make_shared<Segment>();
  segment->id = id;
  segment->pages_fd = open(pages_path.c_str(), O_RDONLY | O_CLOEXEC);
  const int index_fd = open(index_path.c_str(), O_RDONLY | O_CLOEXEC);
  std::vector<uint8_t> bytes;
  constexpr uint64_t bytes_max =
      kSegmentHeaderBytes + uint64_t{kSegmentPagesMax} * kSegmentEntryBytes;
  if (index_fd >= 0) {
    bytes.resize(std::min(SizeOf(index_fd), bytes_max));
    if (!ReadAll(index_fd, bytes.data(), bytes.size(), 0)) bytes.clear();
    close(index_fd);
  }
  std::vector<SegmentSlot> slots;
  const SegmentState state = ReadSegmentIndex(bytes.data(), bytes.size(), *key_, id, &slots);
  // Not ours to throw away.
  if (state == SegmentState::kOtherVersion) Throw(EMEDIUMTYPE, index_path + " has another format");
  if (state == SegmentState::kOtherTenant) Throw(EACCES, index_path + " is of another secret");
  const uint64_t pages_bytes = segment->pages_fd < 0 ? 0 : SizeOf(segment->pages_fd);
  const auto is_torn = [&](const SegmentSlot& slot) {
    return (uint64_t{slot.slot} + 1) * kPageBytes > pages_bytes;
  };
  slots.erase(std::remove_if(slots.begin(), slots.end(), is_torn), slots.end());
  if (slots.empty()) {
    if (state == SegmentState::kDamaged) counters_.damaged_segments++;
    unlink(index_path.c_str());
    unlink(pages_path.c_str());
    return;
  }
  // What the files occupy, holes and torn ends included.
  const uint64_t index_bytes = bytes.size();
  segment->slots = static_cast<uint32_t>(std::max(
      pages_bytes / kPageBytes + 1, (index_bytes - kSegmentHeaderBytes) / kSegmentEntryBytes + 1));
  segment->used = ++uses_;
  segments_[id] = segment;
  for (const SegmentSlot& slot : slots) Index(segment, slot.entry, slot.slot);
}

void ContentStore::Index(const std::shared_ptr<Segment>& segment, const SegmentEntry& entry,
                         uint32_t slot) {
  const uint64_t prefix = PrefixOf(entry.hash);
  segment->held.push_back({prefix, ShortFingerprint(entry.fingerprint), slot});
  places_[prefix] = {segment, slot};
}

bool ContentStore::Read(const ContentHash& hash, uint8_t* out) {
  Place place;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = places_.find(PrefixOf(hash));
    if (found == places_.end()) {
      counters_.misses++;
      return false;
    }
    place = found->second;
    place.segment->used = ++uses_;
  }
  const bool holds =
      ReadAll(place.segment->pages_fd, out, kPageBytes, uint64_t{place.slot} * kPageBytes) &&
      key_->Hash(out) == hash;
  std::lock_guard<std::mutex> lock(mutex_);
  if (holds) {
    counters_.hits++;
    return true;
  }
  counters_.misses++;
  counters_.corrupt_pages++;
  const auto found = places_.find(PrefixOf(hash));
  if (found != places_.end() && found->second.segment == place.segment) places_.erase(found);
  return false;
}

bool ContentStore::Has(const ContentHash& hash) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = places_.find(PrefixOf(hash));
  if (found == places_.end()) return false;
  found->second.segment->used = ++uses_;
  return true;
}

uint64_t ContentStore::Bytes() const {
  uint64_t bytes = 0;
  for (const auto& entry : segments_) bytes += entry.second->bytes();
  return bytes;
}

void ContentStore::Remove(const std::shared_ptr<Segment>& segment) {
  for (const Segment::Held& held : segment->held) {
    const auto found = places_.find(held.prefix);
    if (found == places_.end() || found->second.segment != segment) continue;
    places_.erase(found);
    counters_.evicted_pages++;
  }
  unlink(PathOf(segment->id, kIndexEnding).c_str());
  unlink(PathOf(segment->id, kPagesEnding).c_str());
  segments_.erase(segment->id);
}

void ContentStore::EvictOne() {
  std::shared_ptr<Segment> least;
  for (const auto& entry : segments_) {
    if (least == nullptr || entry.second->used < least->used) least = entry.second;
  }
  Remove(least);
}

bool ContentStore::Begin() {
  auto segment = std::make_shared<Segment>();
  segment->id = next_id_++;
  segment->used = ++uses_;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t wanted = kSegmentHeaderBytes + segment_pages_ * kBytesPerPage;
    while (!segments_.empty() &&
           (Bytes() + wanted > bytes_max_ || segments_.size() >= kSegmentsMax)) {
      EvictOne();
    }
  }
  const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
  segment->pages_fd = open(PathOf(segment->id, kPagesEnding).c_str(), flags, 0600);
  segment->index_fd = open(PathOf(segment->id, kIndexEnding).c_str(), flags, 0600);
  uint8_t header[kSegmentHeaderBytes];
  WriteSegmentHeader(header, *key_, segment->id);
  std::lock_guard<std::mutex> lock(mutex_);
  if (segment->pages_fd < 0 || segment->index_fd < 0 ||
      !WriteAll(segment->index_fd, header, sizeof header, 0)) {
    counters_.write_errors++;
    unlink(PathOf(segment->id, kPagesEnding).c_str());
    unlink(PathOf(segment->id, kIndexEnding).c_str());
    return false;
  }
  segments_[segment->id] = segment;
  open_ = std::move(segment);
  return true;
}

void ContentStore::Seal() {
  close(open_->index_fd);
  open_->index_fd = -1;
  open_.reset();
}

bool ContentStore::Append(const uint8_t* page, const SegmentEntry& entry) {
  if (Has(entry.hash)) return true;
  if (open_ == nullptr && !Begin()) return false;
  const uint32_t slot = open_->slots;
  uint8_t text[kSegmentEntryBytes];
  WriteSegmentEntry(text, entry, slot);
  const bool written = WriteAll(open_->pages_fd, page, kPageBytes, uint64_t{slot} * kPageBytes) &&
                       WriteAll(open_->index_fd, text, sizeof text,
                                kSegmentHeaderBytes + uint64_t{slot} * kSegmentEntryBytes);
  std::lock_guard<std::mutex> lock(mutex_);
  if (!written) {
    counters_.write_errors++;
    Seal();
    return false;
  }
  open_->slots++;
  Index(open_, entry, slot);
  counters_.stored_pages++;
  if (open_->slots == segment_pages_) Seal();
  return true;
}

std::shared_ptr<const ContentSummary> ContentStore::summary() {
  std::lock_guard<std::mutex> lock(mutex_);
  return summary_;
}

void ContentStore::Summarise() {
  std::vector<std::shared_ptr<Segment>> segments;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    // The newest first: they are what is told when there are too many.
    for (auto at = segments_.rbegin(); at != segments_.rend(); ++at) segments.push_back(at->second);
  }
  std::vector<uint32_t> fingerprints;
  for (const std::shared_ptr<Segment>& segment : segments) {
    // Others read in between.
    std::lock_guard<std::mutex> lock(mutex_);
    for (const Segment::Held& held : segment->held) {
      if (fingerprints.size() == kSummaryPagesMax) break;
      const auto found = places_.find(held.prefix);
      if (found == places_.end() || found->second.segment != segment) continue;
      fingerprints.push_back(held.fingerprint);
    }
  }
  auto summary = std::make_shared<const ContentSummary>(dwcp::Summarise(&fingerprints));
  std::lock_guard<std::mutex> lock(mutex_);
  summary_ = std::move(summary);
}

StoreCounters ContentStore::counters() {
  std::lock_guard<std::mutex> lock(mutex_);
  StoreCounters counters = counters_;
  counters.pages = places_.size();
  counters.bytes = Bytes();
  counters.bytes_max = bytes_max_;
  counters.segments = segments_.size();
  return counters;
}

}  // namespace dwcp
