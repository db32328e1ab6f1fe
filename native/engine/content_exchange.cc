#include "engine/content_exchange.h"

#include <algorithm>

namespace dwcp {
namespace {

// Longer than any round trip: nothing came for so long, and nothing will.
constexpr uint64_t kQuietUs = 1000000;
constexpr uint64_t kAwaitedUsMax = 10000000;
constexpr size_t kTellingMax = 64;
constexpr size_t kHearingMax = 8;

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
  Hearing* hearing = HearingOf(name);
  if (hearing == nullptr) {
    if (heard_.size() == kHearingMax) heard_.pop_front();
    hearing = &heard_.emplace_back();
    hearing->name = name;
  }
  // A transfer of this name that was opened again is told of again.
  if (hearing->got.size() != header.raw_bytes || hearing->missing == 0) {
    *hearing = Hearing{};
    hearing->name = name;
    hearing->got.resize(header.raw_bytes);
    hearing->missing = header.raw_bytes;
  }
  if (hearing->got[header.seq]) return true;
  if (!ReadPiece(body, header.plain_bytes(), &hearing->fingerprints)) return false;
  hearing->got[header.seq] = true;
  hearing->last_us = now_us;
  hearing->wire_bytes += kHeaderBytes + header.body_bytes;
  if (--hearing->missing == 0) Settle(hearing);
  return true;
}

ContentExchange::Hearing* ContentExchange::HearingOf(const TransferName& name) {
  for (Hearing& hearing : heard_) {
    if (hearing.name == name) return &hearing;
  }
  return nullptr;
}

uint64_t ContentExchange::HeardBytes(const TransferName& name) const {
  for (const Hearing& hearing : heard_) {
    if (hearing.name == name) return hearing.wire_bytes;
  }
  return 0;
}

void ContentExchange::Settle(Hearing* hearing) {
  filter_ = std::make_shared<PeerContents>(store_->key(), std::move(hearing->fingerprints));
  hearing->fingerprints.clear();
}

bool ContentExchange::Awaits(const TransferName& name, uint64_t since_us, uint64_t now_us) {
  if (store_ == nullptr) return false;
  Hearing* hearing = HearingOf(name);
  if (hearing != nullptr && hearing->missing == 0) return false;
  const uint64_t last_us = hearing != nullptr ? std::max(since_us, hearing->last_us) : since_us;
  if (now_us - std::min(last_us, now_us) < kQuietUs && now_us - since_us < kAwaitedUsMax) {
    return true;
  }
  if (hearing != nullptr) Settle(hearing);
  return false;
}

}  // namespace dwcp
