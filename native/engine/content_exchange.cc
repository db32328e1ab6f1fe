#include "engine/content_exchange.h"

#include <algorithm>

namespace dwcp {
namespace {

// Longer than any round trip: nothing came for so long, and nothing will.
constexpr uint64_t kQuietUs = 1000000;
constexpr uint64_t kAwaitedUsMax = 10000000;
constexpr size_t kTellingMax = 64;

}  // namespace

void ContentExchange::Announce(const TransferName& name) {
  if (store_ == nullptr || telling_.size() == kTellingMax) return;
  telling_.push_back({name, store_->summary(), 0});
}

bool ContentExchange::NextPiece(FrameHeader* header, const uint8_t** body) {
  if (telling_.empty()) return false;
  Telling& telling = telling_.front();
  const auto& pieces = telling.summary->pieces;
  const std::vector<uint8_t>& piece = pieces[telling.next];
  header->type = FrameType::kContent;
  header->transfer_id = telling.name.id;
  header->epoch = telling.name.epoch;
  header->seq = telling.next;
  header->raw_bytes = static_cast<uint32_t>(pieces.size());
  header->body_bytes = static_cast<uint32_t>(piece.size());
  *body = piece.data();
  told_ = telling.summary;
  if (++telling.next == pieces.size()) telling_.pop_front();
  return true;
}

bool ContentExchange::OnPiece(const FrameHeader& header, const uint8_t* body, uint64_t now_us) {
  if (store_ == nullptr) return false;
  const TransferName name{header.transfer_id, header.epoch};
  // A transfer of this name that was opened again is told of again.
  const bool is_new = !(heard_.name == name) || heard_.got.size() != header.raw_bytes;
  if (is_new || heard_.missing == 0) {
    heard_ = Hearing{};
    heard_.name = name;
    heard_.got.resize(header.raw_bytes);
    heard_.missing = header.raw_bytes;
  }
  if (heard_.got[header.seq]) return true;
  if (!ReadPiece(body, header.plain_bytes(), &heard_.fingerprints)) return false;
  heard_.got[header.seq] = true;
  heard_.last_us = now_us;
  heard_.wire_bytes += kHeaderBytes + header.body_bytes;
  if (--heard_.missing == 0) Settle();
  return true;
}

void ContentExchange::Settle() {
  filter_ = std::make_shared<PeerContents>(store_->key(), std::move(heard_.fingerprints));
  heard_.fingerprints.clear();
}

bool ContentExchange::Awaits(const TransferName& name, uint64_t since_us, uint64_t now_us) {
  if (store_ == nullptr) return false;
  const bool is_ours = !heard_.got.empty() && heard_.name == name;
  if (is_ours && heard_.missing == 0) return false;
  const uint64_t last_us = is_ours ? std::max(since_us, heard_.last_us) : since_us;
  if (now_us - std::min(last_us, now_us) < kQuietUs && now_us - since_us < kAwaitedUsMax) {
    return true;
  }
  if (is_ours) Settle();
  return false;
}

}  // namespace dwcp
