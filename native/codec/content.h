// The seam of a content cache: at the receiver a store of page contents by strong hash, at the
// sender a guess at what that store holds.
#pragma once
#include <array>
#include <cstdint>

#include "engine/frame.h"
#include "memory/page_kernels.h"

namespace dwcp {

// Keyed per tenant; how is the business of whoever implements the two sides.
using ContentHash = std::array<uint8_t, kKnownBytes>;

// Receiver's side. Called on I/O threads, several at once, without any lock of the engine.
class ContentSource {
 public:
  virtual ~ContentSource() = default;
  // Writes the page (4096 bytes, aligned to 64) whose content has this hash, which the source has
  // checked again where its store may rot; false when it has none, and `out` is then not used.
  virtual bool Read(const ContentHash& hash, uint8_t* out) = 0;
  // A page has landed whole, from the wire: worth keeping, perhaps. Must not block for long.
  virtual void Landed(const uint8_t* bytes, PageDigest digest) = 0;
};

// Sender's side. Called on encode workers, several at once, without any lock of the engine.
class ContentFilter {
 public:
  virtual ~ContentFilter() = default;
  // Does the peer probably hold this page? Then its hash. `digest` is the page's own, computed
  // already: look there first, and hash strongly only on a candidate. A wrong yes costs a round
  // trip and 32 bytes, never a wrong page.
  virtual bool Holds(const uint8_t* bytes, PageDigest digest, ContentHash* hash) = 0;
  // The peer refused a page that was named by hash: a filter that is wrong too often should stop.
  virtual void Refused() = 0;
};

}  // namespace dwcp
