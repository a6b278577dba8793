// The numbers of the messages, and their names.
#pragma once
#include "p9/types.h"

namespace run9::p9 {

enum class MsgType : uint8_t {
  kRlerror = 7,
  kTstatfs = 8, kRstatfs = 9,
  kTlopen = 12, kRlopen = 13,
  kTlcreate = 14, kRlcreate = 15,
  kTsymlink = 16, kRsymlink = 17,
  kTmknod = 18, kRmknod = 19,
  kTrename = 20, kRrename = 21,
  kTreadlink = 22, kRreadlink = 23,
  kTgetattr = 24, kRgetattr = 25,
  kTsetattr = 26, kRsetattr = 27,
  kTxattrwalk = 30, kRxattrwalk = 31,
  kTxattrcreate = 32, kRxattrcreate = 33,
  kTreaddir = 40, kRreaddir = 41,
  kTfsync = 50, kRfsync = 51,
  kTlock = 52, kRlock = 53,
  kTgetlock = 54, kRgetlock = 55,
  kTlink = 70, kRlink = 71,
  kTmkdir = 72, kRmkdir = 73,
  kTrenameat = 74, kRrenameat = 75,
  kTunlinkat = 76, kRunlinkat = 77,
  kTversion = 100, kRversion = 101,
  kTauth = 102, kRauth = 103,
  kTattach = 104, kRattach = 105,
  kTflush = 108, kRflush = 109,
  kTwalk = 110, kRwalk = 111,
  kTread = 116, kRread = 117,
  kTwrite = 118, kRwrite = 119,
  kTclunk = 120, kRclunk = 121,
  kTremove = 122, kRremove = 123,
  kTcaps = 200, kRcaps = 201,
  kTwalkx = 202, kRwalkx = 203,
  kTreaddirx = 204, kRreaddirx = 205,
  kTwalkdir = 206, kRwalkdir = 207,
  kTmclunk = 208, kRmclunk = 209,
  kTsetx = 210, kRsetx = 211,
  kTmkx = 212, kRmkx = 213,
  kTrename2 = 214, kRrename2 = 215,
  kTgetxa = 216, kRgetxa = 217,
  kTsetxa = 218, kRsetxa = 219,
  kTlistxa = 220, kRlistxa = 221,
  kTrmxa = 222, kRrmxa = 223,
  kTfdget = 224, kRfdget = 225,
  kTfalloc = 226, kRfalloc = 227,
  kTseek = 228, kRseek = 229,
  kTcopy = 230, kRcopy = 231,
  kTlockx = 232, kRlockx = 233,
  kTring = 234, kRring = 235,
  kTlease = 238, kRlease = 239,
  kTevents = 240, kRevents = 241,
  kTsyncfs = 242, kRsyncfs = 243,
  kTsock = 244, kRsock = 245,
  kTmopen = 246, kRmopen = 247,
};
constexpr uint8_t to_int(MsgType t) { return static_cast<uint8_t>(t); }
// Requests have even numbers, replies odd ones.
constexpr bool is_request(MsgType t) { return to_int(t) % 2 == 0; }
constexpr bool is_dialect(MsgType t) { return to_int(t) >= 200; }
// "Tlopen"; "?" for a number that is no message.
std::string_view name_of(MsgType t);

}  // namespace run9::p9
