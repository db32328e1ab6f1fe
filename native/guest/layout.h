// What a memory guest keeps in its own memory. Everything that must survive a move is here, so that
// a new process which maps the moved bytes goes on exactly where the old one parked.
//
//   page 0            GuestHeader
//   accounts          uint64 balances, constant sum
//   ring              the latest operations, gap-free by number
//   the rest          dirtied by the writer at the asked rate
#pragma once
#include <cstddef>
#include <cstdint>

namespace dwcp::guest {

constexpr uint64_t kMagic = 0x3174736575476d44;  // "DmGuest1"
constexpr uint64_t kGuestPageBytes = 4096;
constexpr uint64_t kAccountPages = 8;
constexpr uint64_t kRingPages = 16;
constexpr uint64_t kFirstDataPage = 1 + kAccountPages + kRingPages;
constexpr uint64_t kAccounts = kAccountPages * kGuestPageBytes / sizeof(uint64_t);
constexpr uint64_t kOpeningBalance = 1000;

struct Operation {
  uint64_t number;  // from 1; slot is number % kRingSlots
  uint32_t from;
  uint32_t to;
  uint64_t amount;
  uint64_t realtime_us;
};
constexpr uint64_t kRingSlots = kRingPages * kGuestPageBytes / sizeof(Operation);

struct GuestHeader {
  uint64_t magic;
  uint64_t size_bytes;
  uint64_t dirty_bytes_per_sec;
  uint64_t working_set_pages;
  uint64_t operations;
  // CLOCK_REALTIME, because it is the only clock that two hosts share.
  uint64_t last_operation_us;
  uint64_t longest_gap_us;
  uint64_t writer_cursor;
  uint64_t pages_written;
};
static_assert(sizeof(GuestHeader) <= kGuestPageBytes);

}  // namespace dwcp::guest
