// The words that 9P2000.L messages are made of. Wire order is member order wherever there is a
// kFields tuple: encode, decode and print all walk it (codec.h). spec/9p2000L.md, "Types".
#pragma once
#include <cstdint>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace run9::p9 {

enum class Fid : uint32_t {};
enum class Tag : uint16_t {};
inline constexpr Fid kNoFid{0xffffffff};
inline constexpr Tag kNoTag{0xffff};  // Tversion only
inline constexpr uint32_t kNoUname = 0xffffffff;
// uid, gid: "leave it as the server makes it".
inline constexpr uint32_t kNoId = 0xffffffff;

inline constexpr size_t kHeaderSize = 7;     // size[4] type[1] tag[2]
inline constexpr uint32_t kIoHeaderSize = 24;  // a Tread, Twrite or Treaddir count is <= msize - this
inline constexpr uint32_t kMinMsize = 4096;
inline constexpr uint32_t kMaxMsize = 1u << 20;
inline constexpr size_t kMaxWalk = 16;
inline constexpr size_t kMaxWalkx = 64;
inline constexpr size_t kMaxClunks = 1024;
inline constexpr size_t kMaxOpens = 32;  // names of a Tmopen, and so descriptors on a frame
inline constexpr size_t kMaxName = 255;
inline constexpr size_t kMaxXattr = 65536;
inline constexpr std::string_view kVersionL = "9P2000.L";
inline constexpr std::string_view kVersionX = "9P2000.L.x";
inline constexpr std::string_view kVersionUnknown = "unknown";

// A file name as one path component: not "", ".", "..", no '/', no NUL, at most 255 bytes. Decoding
// a Name that breaks the rule fails (check_name in codec.h), so no handler sees one.
struct Name {
  std::string_view text;
  Name() = default;
  Name(std::string_view t) : text(t) {}  // NOLINT: a literal is a name
  Name(const char* t) : text(t) {}       // NOLINT
  Name(const std::string& t) : text(t) {}  // NOLINT
  operator std::string_view() const { return text; }  // NOLINT
  bool operator==(const Name&) const = default;
};
// The same, and "." and ".." are allowed: Twalk is the one place that has them.
struct WalkName {
  std::string_view text;
  WalkName() = default;
  WalkName(std::string_view t) : text(t) {}  // NOLINT
  WalkName(const char* t) : text(t) {}       // NOLINT
  WalkName(const std::string& t) : text(t) {}  // NOLINT
  operator std::string_view() const { return text; }  // NOLINT
  bool operator==(const WalkName&) const = default;
};

// n[2] + n elements; more than kMax is a malformed message, found before anything is allocated.
template <typename T, size_t kMaxElements>
struct List : std::vector<T> {
  using std::vector<T>::vector;
  static constexpr size_t kMax = kMaxElements;
};
// A last field that old peers leave out (Tfsync's datasync).
template <typename T>
struct Trailing {
  T value{};
  bool operator==(const Trailing&) const = default;
};

enum class QidType : uint8_t {
  kFile = 0, kSymlink = 0x02, kTmp = 0x04, kAuth = 0x08, kMount = 0x10, kExclusive = 0x20,
  kAppend = 0x40, kDir = 0x80,
};
struct Qid {
  QidType type{};
  uint32_t version = 0;  // 0: do not cache by it
  uint64_t path = 0;
  static constexpr auto kFields = std::tuple{&Qid::type, &Qid::version, &Qid::path};
  bool operator==(const Qid&) const = default;
};
inline constexpr size_t kQidSize = 13;
constexpr bool is(const Qid& q, QidType bit) {
  return (static_cast<uint8_t>(q.type) & static_cast<uint8_t>(bit)) != 0;
}

// open(2) flags in their generic octal values, the ones x86-64 uses too. Never passed to the host
// as they come: the server maps the ones it knows.
enum class OpenFlags : uint32_t {};
constexpr uint32_t bits(OpenFlags f) { return static_cast<uint32_t>(f); }
constexpr OpenFlags operator|(OpenFlags a, OpenFlags b) { return OpenFlags{bits(a) | bits(b)}; }
constexpr bool has(OpenFlags f, OpenFlags any) { return (bits(f) & bits(any)) != 0; }
inline constexpr OpenFlags kORdonly{0}, kOWronly{01}, kORdwr{02}, kOAccmode{03}, kOCreat{0100},
    kOExcl{0200}, kONoctty{0400}, kOTrunc{01000}, kOAppend{02000}, kONonblock{04000},
    kODsync{010000}, kODirect{040000}, kOLargefile{0100000}, kODirectory{0200000},
    kONofollow{0400000}, kONoatime{01000000}, kOCloexec{02000000}, kOSync{04000000};
constexpr OpenFlags access_mode(OpenFlags f) { return OpenFlags{bits(f) & bits(kOAccmode)}; }
constexpr bool wants_write(OpenFlags f) {
  return access_mode(f) != kORdonly || has(f, kOTrunc);
}

// Tgetattr's request_mask and valid.
inline constexpr uint64_t kGetMode = 0x1, kGetNlink = 0x2, kGetUid = 0x4, kGetGid = 0x8,
    kGetRdev = 0x10, kGetAtime = 0x20, kGetMtime = 0x40, kGetCtime = 0x80, kGetIno = 0x100,
    kGetSize = 0x200, kGetBlocks = 0x400, kGetBasic = 0x7ff, kGetBtime = 0x800, kGetGen = 0x1000,
    kGetDataVersion = 0x2000, kGetAll = 0x3fff;
// Tsetattr's valid. A time bit without its kSet...Given bit means "the server's now".
inline constexpr uint32_t kSetMode = 0x1, kSetUid = 0x2, kSetGid = 0x4, kSetSize = 0x8,
    kSetAtime = 0x10, kSetMtime = 0x20, kSetCtime = 0x40, kSetAtimeGiven = 0x80,
    kSetMtimeGiven = 0x100;

struct Time {
  uint64_t sec = 0;  // two's complement before 1970
  uint64_t nsec = 0;
  static constexpr auto kFields = std::tuple{&Time::sec, &Time::nsec};
  bool operator==(const Time&) const = default;
};
struct SetAttr {
  uint32_t valid = 0;  // kSet...
  uint32_t mode = 0;
  uint32_t uid = kNoId;
  uint32_t gid = kNoId;
  uint64_t size = 0;
  Time atime;
  Time mtime;
  static constexpr auto kFields =
      std::tuple{&SetAttr::valid, &SetAttr::mode, &SetAttr::uid, &SetAttr::gid,
                 &SetAttr::size, &SetAttr::atime, &SetAttr::mtime};
  bool operator==(const SetAttr&) const = default;
};

// Attributes as the dialect and the server's backends carry them: statx(2) in fixed fields.
// `valid` has statx's mask bits (STATX_*), and kAttrChange for `change`.
inline constexpr uint64_t kAttrBasic = 0x7ff;  // STATX_BASIC_STATS
inline constexpr uint64_t kAttrBtime = 0x800;  // STATX_BTIME
inline constexpr uint64_t kAttrMntId = 0x1000;  // STATX_MNT_ID
inline constexpr uint64_t kAttrChange = uint64_t{1} << 32;
// In the attrmask of a request for a directory's entries: of "." and the directories in it, no others'.
inline constexpr uint64_t kAttrOfDirectories = uint64_t{1} << 33;
// In the same, and in `valid` of an entry then: it has no extended attributes that the server would show.
inline constexpr uint64_t kAttrNoXattrs = uint64_t{1} << 34;
// Its mount has relatime or noatime (mount(8)): a read leaves an access time alone that is newer than the other times, and not a day old.
inline constexpr uint64_t kAttrRelatime = uint64_t{1} << 35;
inline constexpr uint64_t kAttrAll = kAttrBasic | kAttrBtime | kAttrMntId | kAttrChange | kAttrRelatime;
struct TimeX {
  uint64_t sec = 0;
  uint32_t nsec = 0;
  static constexpr auto kFields = std::tuple{&TimeX::sec, &TimeX::nsec};
  bool operator==(const TimeX&) const = default;
};
struct AttrX {
  uint64_t valid = 0;
  uint32_t mode = 0;  // with the S_IFMT bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  uint64_t ino = 0;
  uint64_t dev = 0;
  uint64_t rdev = 0;
  uint64_t size = 0;
  uint64_t blocks = 0;
  uint32_t blksize = 0;
  uint32_t attributes = 0;
  TimeX atime;
  TimeX mtime;
  TimeX ctime;
  TimeX btime;
  uint64_t change = 0;
  uint64_t mnt_id = 0;
  static constexpr auto kFields = std::tuple{
      &AttrX::valid, &AttrX::mode, &AttrX::uid, &AttrX::gid, &AttrX::nlink, &AttrX::ino,
      &AttrX::dev, &AttrX::rdev, &AttrX::size, &AttrX::blocks, &AttrX::blksize,
      &AttrX::attributes, &AttrX::atime, &AttrX::mtime, &AttrX::ctime, &AttrX::btime,
      &AttrX::change, &AttrX::mnt_id};
  bool operator==(const AttrX&) const = default;
};
inline constexpr size_t kAttrXSize = 136;

enum class LockType : uint8_t { kRead = 0, kWrite = 1, kUnlock = 2 };
enum class LockFlags : uint32_t { kNone = 0, kBlock = 1, kReclaim = 2 };
enum class LockStatus : uint8_t { kSuccess = 0, kBlocked = 1, kError = 2, kGrace = 3 };

// One entry of Rreaddir's data. `type` is a DT_* value; `offset` resumes after this entry.
struct Dirent {
  Qid qid;
  uint64_t offset = 0;
  uint8_t type = 0;
  std::string_view name;
  static constexpr auto kFields =
      std::tuple{&Dirent::qid, &Dirent::offset, &Dirent::type, &Dirent::name};
  bool operator==(const Dirent&) const = default;
};
// One entry of Rreaddirx's data. attr.valid is 0 where the server did not look.
struct DirentX {
  Qid qid;
  uint64_t offset = 0;
  uint8_t type = 0;
  AttrX attr;
  std::string_view name;
  static constexpr auto kFields = std::tuple{&DirentX::qid, &DirentX::offset, &DirentX::type,
                                             &DirentX::attr, &DirentX::name};
  bool operator==(const DirentX&) const = default;
};

// Rcaps: what the server has of the dialect.
inline constexpr uint64_t kCapWalkx = 1 << 0, kCapReaddirx = 1 << 1, kCapWalkdir = 1 << 2,
    kCapClunkx = 1 << 3, kCapSetx = 1 << 4, kCapXattr1 = 1 << 5, kCapFd = 1 << 6,
    kCapAlloc = 1 << 7, kCapSeek = 1 << 8, kCapCopy = 1 << 9, kCapRename2 = 1 << 10, kCapLease = 1 << 11,
    kCapRing = 1 << 12, kCapMkx = 1 << 13, kCapSyncfs = 1 << 15, kCapMopen = 1 << 16,
    kCapLockx = 1 << 17, kCapSock = 1 << 18, kCapEvents = 1 << 19;
inline constexpr uint64_t kCapAll = kCapWalkx | kCapReaddirx | kCapWalkdir | kCapClunkx |
    kCapSetx | kCapXattr1 | kCapFd | kCapAlloc | kCapSeek | kCapRename2 |
    kCapLease | kCapRing | kCapCopy | kCapMkx | kCapSyncfs | kCapMopen |
    kCapLockx | kCapSock | kCapEvents;

// Twalkx flags; spec/9p2000Lx.md, "walkx".
inline constexpr uint32_t kWalkOpen = 1 << 0;       // open the last component as openfid
inline constexpr uint32_t kWalkCreate = 1 << 1;     // create it when missing (needs kWalkOpen)
inline constexpr uint32_t kWalkExclusive = 1 << 2;  // with kWalkCreate: it must be missing
inline constexpr uint32_t kWalkMkdir = 1 << 3;      // make it a directory; it must be missing
inline constexpr uint32_t kWalkDirectory = 1 << 4;  // it must be a directory
inline constexpr uint32_t kWalkKeepControl = 1 << 5;  // bind newfid to it
inline constexpr uint32_t kWalkAllFids = 1 << 6;    // bind newfid + i to component i instead
inline constexpr uint32_t kWalkWantFd = 1 << 7;     // send the host descriptor of openfid along
inline constexpr uint32_t kWalkLease = 1 << 8;      // watch the directories on the way
inline constexpr uint32_t kWalkFlagsKnown = 0x1ff;
enum class WalkStatus : uint8_t {
  kOk = 0,
  kCreated = 1,   // everything walked; the last component is new
  kMissing = 2,   // names[nwalk] does not exist
  kSymlink = 3,   // component nwalk - 1 is a symbolic link, `target` says where to
  kNotDir = 4,    // component nwalk - 1 is no directory, and names remain or one was asked for
  kFailed = 5,    // stopped by `error`; if all names were walked it was the open that failed
};
inline constexpr uint8_t kWalkxFd = 1 << 0;  // Rwalkx.rflags: a descriptor rides on this frame

struct WalkedX {
  Qid qid;
  AttrX attr;
  static constexpr auto kFields = std::tuple{&WalkedX::qid, &WalkedX::attr};
  bool operator==(const WalkedX&) const = default;
};

// What became of one name of Tmopen. A descriptor rides on the frame for each whose error is 0.
struct OpenedX {
  uint32_t error = 0;  // an errno
  Qid qid;
  static constexpr auto kFields = std::tuple{&OpenedX::error, &OpenedX::qid};
  bool operator==(const OpenedX&) const = default;
};

// Tlockx.flags.
inline constexpr uint32_t kLockWait = 1 << 0;   // the reply comes when it is locked
inline constexpr uint32_t kLockWhole = 1 << 1;  // the file, as flock(2): apart from record locks
inline constexpr uint32_t kLockFlagsKnown = 0x3;
inline constexpr size_t kMaxLockWaits = 64;     // of a connection

inline constexpr uint32_t kEventsFd = 1 << 0;  // Tevents.flags: send the descriptor that tells of them

inline constexpr uint32_t kReaddirOpen = 1 << 0;  // Treaddirx.flags: fid need not be open
inline constexpr uint32_t kReaddirEof = 1 << 0;   // Rreaddirx.flags: nothing follows these entries

// unlinkat(2), renameat2(2), setxattr(2) flags.
inline constexpr uint32_t kAtRemovedir = 0x200;
inline constexpr uint32_t kRenameNoreplace = 1, kRenameExchange = 2, kRenameWhiteout = 4;
inline constexpr uint32_t kXattrCreate = 1, kXattrReplace = 2;
inline constexpr uint8_t kSeekData = 3, kSeekHole = 4;

}  // namespace run9::p9
