// The numbers of QEMU's migration stream.
#pragma once
#include <cstdint>

namespace dwcp::qemu {

constexpr uint32_t kFileMagic = 0x5145564d;  // "QEVM"
constexpr uint32_t kFileVersion = 3;

constexpr uint8_t kTypeSectionStart = 1;
constexpr uint8_t kTypeSectionPart = 2;
constexpr uint8_t kTypeSectionEnd = 3;
constexpr uint8_t kTypeSubsection = 5;
constexpr uint8_t kTypeConfiguration = 7;
constexpr uint8_t kTypeCommand = 8;
constexpr uint8_t kTypeFooter = 0x7e;

constexpr uint16_t kCommandOpenReturnPath = 1;
constexpr uint16_t kCommandPing = 2;
constexpr uint16_t kCommandPostcopyAdvise = 3;
constexpr uint16_t kCommandSwitchoverStart = 11;

constexpr uint32_t kRamVersion = 4;

constexpr uint32_t kFlagZero = 0x02;
constexpr uint32_t kFlagRamSize = 0x04;
constexpr uint32_t kFlagPage = 0x08;
constexpr uint32_t kFlagEndOfRecords = 0x10;
constexpr uint32_t kFlagContinue = 0x20;
constexpr uint32_t kFlagXbzrle = 0x40;
constexpr uint32_t kFlagCompressed = 0x100;
constexpr uint32_t kFlagMultifdFlush = 0x200;

constexpr uint32_t kMultifdMagic = 0x11223344;
constexpr uint32_t kMultifdVersion = 1;
constexpr uint32_t kMultifdDeviceState = 0x40;

}  // namespace dwcp::qemu
