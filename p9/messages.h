// Every message of 9P2000.L and of the Run9 dialect, as a struct with its members in wire order.
// Strings and data of a decoded message are views into the frame it came from. The tables are in
// spec/9p2000L.md and spec/9p2000Lx.md; the order of dispatch is that of `Requests` below.
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
  kTrename2 = 214, kRrename2 = 215,
  kTgetxa = 216, kRgetxa = 217,
  kTsetxa = 218, kRsetxa = 219,
  kTlistxa = 220, kRlistxa = 221,
  kTrmxa = 222, kRrmxa = 223,
  kTfdget = 224, kRfdget = 225,
  kTfalloc = 226, kRfalloc = 227,
  kTseek = 228, kRseek = 229,
  kTlease = 238, kRlease = 239,
  kTmopen = 246, kRmopen = 247,
};
constexpr uint8_t to_int(MsgType t) { return static_cast<uint8_t>(t); }
// Requests have even numbers, replies odd ones.
constexpr bool is_request(MsgType t) { return to_int(t) % 2 == 0; }
constexpr bool is_dialect(MsgType t) { return to_int(t) >= 200; }

struct Rlerror {
  static constexpr auto kType = MsgType::kRlerror;
  uint32_t ecode = 0;  // a Linux errno
  static constexpr auto kFields = std::tuple{&Rlerror::ecode};
};

struct Rstatfs {
  static constexpr auto kType = MsgType::kRstatfs;
  uint32_t type = 0;
  uint32_t bsize = 0;
  uint64_t blocks = 0;
  uint64_t bfree = 0;
  uint64_t bavail = 0;
  uint64_t files = 0;
  uint64_t ffree = 0;
  uint64_t fsid = 0;
  uint32_t namelen = 0;
  static constexpr auto kFields = std::tuple{
      &Rstatfs::type, &Rstatfs::bsize, &Rstatfs::blocks, &Rstatfs::bfree, &Rstatfs::bavail,
      &Rstatfs::files, &Rstatfs::ffree, &Rstatfs::fsid, &Rstatfs::namelen};
};
struct Tstatfs {
  using Reply = Rstatfs;
  static constexpr auto kType = MsgType::kTstatfs;
  Fid fid{};
  static constexpr auto kFields = std::tuple{&Tstatfs::fid};
};

struct Rlopen {
  static constexpr auto kType = MsgType::kRlopen;
  Qid qid;
  uint32_t iounit = 0;  // 0: the client may use msize - kIoHeaderSize
  static constexpr auto kFields = std::tuple{&Rlopen::qid, &Rlopen::iounit};
};
struct Tlopen {
  using Reply = Rlopen;
  static constexpr auto kType = MsgType::kTlopen;
  Fid fid{};
  OpenFlags flags{};
  static constexpr auto kFields = std::tuple{&Tlopen::fid, &Tlopen::flags};
};

struct Rlcreate {
  static constexpr auto kType = MsgType::kRlcreate;
  Qid qid;
  uint32_t iounit = 0;
  static constexpr auto kFields = std::tuple{&Rlcreate::qid, &Rlcreate::iounit};
};
struct Tlcreate {
  using Reply = Rlcreate;
  static constexpr auto kType = MsgType::kTlcreate;
  Fid fid{};
  Name name;
  OpenFlags flags{};
  uint32_t mode = 0;
  uint32_t gid = 0;
  static constexpr auto kFields = std::tuple{
      &Tlcreate::fid, &Tlcreate::name, &Tlcreate::flags, &Tlcreate::mode, &Tlcreate::gid};
};

struct Rsymlink {
  static constexpr auto kType = MsgType::kRsymlink;
  Qid qid;
  static constexpr auto kFields = std::tuple{&Rsymlink::qid};
};
struct Tsymlink {
  using Reply = Rsymlink;
  static constexpr auto kType = MsgType::kTsymlink;
  Fid dfid{};
  Name name;
  std::string_view target;
  uint32_t gid = 0;
  static constexpr auto kFields = std::tuple{
      &Tsymlink::dfid, &Tsymlink::name, &Tsymlink::target, &Tsymlink::gid};
};

struct Rmknod {
  static constexpr auto kType = MsgType::kRmknod;
  Qid qid;
  static constexpr auto kFields = std::tuple{&Rmknod::qid};
};
struct Tmknod {
  using Reply = Rmknod;
  static constexpr auto kType = MsgType::kTmknod;
  Fid dfid{};
  Name name;
  uint32_t mode = 0;
  uint32_t major = 0;
  uint32_t minor = 0;
  uint32_t gid = 0;
  static constexpr auto kFields = std::tuple{
      &Tmknod::dfid, &Tmknod::name, &Tmknod::mode, &Tmknod::major, &Tmknod::minor, &Tmknod::gid};
};

struct Rrename {
  static constexpr auto kType = MsgType::kRrename;
  static constexpr auto kFields = std::tuple{};
};
struct Trename {
  using Reply = Rrename;
  static constexpr auto kType = MsgType::kTrename;
  Fid fid{};
  Fid dfid{};
  Name name;
  static constexpr auto kFields = std::tuple{&Trename::fid, &Trename::dfid, &Trename::name};
};

struct Rreadlink {
  static constexpr auto kType = MsgType::kRreadlink;
  std::string_view target;
  static constexpr auto kFields = std::tuple{&Rreadlink::target};
};
struct Treadlink {
  using Reply = Rreadlink;
  static constexpr auto kType = MsgType::kTreadlink;
  Fid fid{};
  static constexpr auto kFields = std::tuple{&Treadlink::fid};
};

struct Rgetattr {
  static constexpr auto kType = MsgType::kRgetattr;
  uint64_t valid = 0;
  Qid qid;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t nlink = 0;
  uint64_t rdev = 0;
  uint64_t size = 0;
  uint64_t blksize = 0;
  uint64_t blocks = 0;
  Time atime;
  Time mtime;
  Time ctime;
  Time btime;
  uint64_t gen = 0;
  uint64_t data_version = 0;
  static constexpr auto kFields = std::tuple{
      &Rgetattr::valid, &Rgetattr::qid, &Rgetattr::mode, &Rgetattr::uid, &Rgetattr::gid,
      &Rgetattr::nlink, &Rgetattr::rdev, &Rgetattr::size, &Rgetattr::blksize, &Rgetattr::blocks,
      &Rgetattr::atime, &Rgetattr::mtime, &Rgetattr::ctime, &Rgetattr::btime, &Rgetattr::gen,
      &Rgetattr::data_version};
};
struct Tgetattr {
  using Reply = Rgetattr;
  static constexpr auto kType = MsgType::kTgetattr;
  Fid fid{};
  uint64_t request_mask = 0;
  static constexpr auto kFields = std::tuple{&Tgetattr::fid, &Tgetattr::request_mask};
};

struct Rsetattr {
  static constexpr auto kType = MsgType::kRsetattr;
  static constexpr auto kFields = std::tuple{};
};
struct Tsetattr {
  using Reply = Rsetattr;
  static constexpr auto kType = MsgType::kTsetattr;
  Fid fid{};
  SetAttr attr;
  static constexpr auto kFields = std::tuple{&Tsetattr::fid, &Tsetattr::attr};
};

struct Rxattrwalk {
  static constexpr auto kType = MsgType::kRxattrwalk;
  uint64_t size = 0;
  static constexpr auto kFields = std::tuple{&Rxattrwalk::size};
};
struct Txattrwalk {
  using Reply = Rxattrwalk;
  static constexpr auto kType = MsgType::kTxattrwalk;
  Fid fid{};
  Fid newfid{};
  std::string_view name;  // empty: the list of names
  static constexpr auto kFields = std::tuple{
      &Txattrwalk::fid, &Txattrwalk::newfid, &Txattrwalk::name};
};

struct Rxattrcreate {
  static constexpr auto kType = MsgType::kRxattrcreate;
  static constexpr auto kFields = std::tuple{};
};
struct Txattrcreate {
  using Reply = Rxattrcreate;
  static constexpr auto kType = MsgType::kTxattrcreate;
  Fid fid{};
  std::string_view name;
  uint64_t attr_size = 0;
  uint32_t flags = 0;
  static constexpr auto kFields = std::tuple{
      &Txattrcreate::fid, &Txattrcreate::name, &Txattrcreate::attr_size, &Txattrcreate::flags};
};

struct Rreaddir {
  static constexpr auto kType = MsgType::kRreaddir;
  ByteSpan data;  // Dirents, whole ones
  static constexpr auto kFields = std::tuple{&Rreaddir::data};
};
struct Treaddir {
  using Reply = Rreaddir;
  static constexpr auto kType = MsgType::kTreaddir;
  Fid fid{};
  uint64_t offset = 0;
  uint32_t count = 0;
  static constexpr auto kFields = std::tuple{&Treaddir::fid, &Treaddir::offset, &Treaddir::count};
};

struct Rfsync {
  static constexpr auto kType = MsgType::kRfsync;
  static constexpr auto kFields = std::tuple{};
};
struct Tfsync {
  using Reply = Rfsync;
  static constexpr auto kType = MsgType::kTfsync;
  Fid fid{};
  Trailing<uint32_t> datasync;
  static constexpr auto kFields = std::tuple{&Tfsync::fid, &Tfsync::datasync};
};

struct Rlock {
  static constexpr auto kType = MsgType::kRlock;
  LockStatus status{};
  static constexpr auto kFields = std::tuple{&Rlock::status};
};
struct Tlock {
  using Reply = Rlock;
  static constexpr auto kType = MsgType::kTlock;
  Fid fid{};
  LockType type{};
  LockFlags flags{};
  uint64_t start = 0;
  uint64_t length = 0;
  uint32_t proc_id = 0;
  std::string_view client_id;
  static constexpr auto kFields = std::tuple{
      &Tlock::fid, &Tlock::type, &Tlock::flags, &Tlock::start, &Tlock::length, &Tlock::proc_id,
      &Tlock::client_id};
};

struct Rgetlock {
  static constexpr auto kType = MsgType::kRgetlock;
  LockType type{};
  uint64_t start = 0;
  uint64_t length = 0;
  uint32_t proc_id = 0;
  std::string_view client_id;
  static constexpr auto kFields = std::tuple{
      &Rgetlock::type, &Rgetlock::start, &Rgetlock::length, &Rgetlock::proc_id,
      &Rgetlock::client_id};
};
struct Tgetlock {
  using Reply = Rgetlock;
  static constexpr auto kType = MsgType::kTgetlock;
  Fid fid{};
  LockType type{};
  uint64_t start = 0;
  uint64_t length = 0;
  uint32_t proc_id = 0;
  std::string_view client_id;
  static constexpr auto kFields = std::tuple{
      &Tgetlock::fid, &Tgetlock::type, &Tgetlock::start, &Tgetlock::length, &Tgetlock::proc_id,
      &Tgetlock::client_id};
};

struct Rlink {
  static constexpr auto kType = MsgType::kRlink;
  static constexpr auto kFields = std::tuple{};
};
struct Tlink {
  using Reply = Rlink;
  static constexpr auto kType = MsgType::kTlink;
  Fid dfid{};
  Fid fid{};
  Name name;
  static constexpr auto kFields = std::tuple{&Tlink::dfid, &Tlink::fid, &Tlink::name};
};

struct Rmkdir {
  static constexpr auto kType = MsgType::kRmkdir;
  Qid qid;
  static constexpr auto kFields = std::tuple{&Rmkdir::qid};
};
struct Tmkdir {
  using Reply = Rmkdir;
  static constexpr auto kType = MsgType::kTmkdir;
  Fid dfid{};
  Name name;
  uint32_t mode = 0;
  uint32_t gid = 0;
  static constexpr auto kFields = std::tuple{
      &Tmkdir::dfid, &Tmkdir::name, &Tmkdir::mode, &Tmkdir::gid};
};

struct Rrenameat {
  static constexpr auto kType = MsgType::kRrenameat;
  static constexpr auto kFields = std::tuple{};
};
struct Trenameat {
  using Reply = Rrenameat;
  static constexpr auto kType = MsgType::kTrenameat;
  Fid olddirfid{};
  Name oldname;
  Fid newdirfid{};
  Name newname;
  static constexpr auto kFields = std::tuple{
      &Trenameat::olddirfid, &Trenameat::oldname, &Trenameat::newdirfid, &Trenameat::newname};
};

struct Runlinkat {
  static constexpr auto kType = MsgType::kRunlinkat;
  static constexpr auto kFields = std::tuple{};
};
struct Tunlinkat {
  using Reply = Runlinkat;
  static constexpr auto kType = MsgType::kTunlinkat;
  Fid dirfid{};
  Name name;
  uint32_t flags = 0;
  static constexpr auto kFields = std::tuple{
      &Tunlinkat::dirfid, &Tunlinkat::name, &Tunlinkat::flags};
};

struct Rversion {
  static constexpr auto kType = MsgType::kRversion;
  uint32_t msize = 0;
  std::string_view version;
  static constexpr auto kFields = std::tuple{&Rversion::msize, &Rversion::version};
};
struct Tversion {
  using Reply = Rversion;
  static constexpr auto kType = MsgType::kTversion;
  uint32_t msize = 0;
  std::string_view version;
  static constexpr auto kFields = std::tuple{&Tversion::msize, &Tversion::version};
};

struct Rauth {
  static constexpr auto kType = MsgType::kRauth;
  Qid aqid;
  static constexpr auto kFields = std::tuple{&Rauth::aqid};
};
struct Tauth {
  using Reply = Rauth;
  static constexpr auto kType = MsgType::kTauth;
  Fid afid{};
  std::string_view uname;
  std::string_view aname;
  uint32_t n_uname = kNoUname;
  static constexpr auto kFields = std::tuple{
      &Tauth::afid, &Tauth::uname, &Tauth::aname, &Tauth::n_uname};
};

struct Rattach {
  static constexpr auto kType = MsgType::kRattach;
  Qid qid;
  static constexpr auto kFields = std::tuple{&Rattach::qid};
};
struct Tattach {
  using Reply = Rattach;
  static constexpr auto kType = MsgType::kTattach;
  Fid fid{};
  Fid afid = kNoFid;
  std::string_view uname;
  std::string_view aname;
  uint32_t n_uname = kNoUname;
  static constexpr auto kFields = std::tuple{
      &Tattach::fid, &Tattach::afid, &Tattach::uname, &Tattach::aname, &Tattach::n_uname};
};

struct Rflush {
  static constexpr auto kType = MsgType::kRflush;
  static constexpr auto kFields = std::tuple{};
};
struct Tflush {
  using Reply = Rflush;
  static constexpr auto kType = MsgType::kTflush;
  Tag oldtag{};
  static constexpr auto kFields = std::tuple{&Tflush::oldtag};
};

struct Rwalk {
  static constexpr auto kType = MsgType::kRwalk;
  List<Qid, kMaxWalk> qids;
  static constexpr auto kFields = std::tuple{&Rwalk::qids};
};
struct Twalk {
  using Reply = Rwalk;
  static constexpr auto kType = MsgType::kTwalk;
  Fid fid{};
  Fid newfid{};
  List<WalkName, kMaxWalk> names;
  static constexpr auto kFields = std::tuple{&Twalk::fid, &Twalk::newfid, &Twalk::names};
};

struct Rread {
  static constexpr auto kType = MsgType::kRread;
  ByteSpan data;
  static constexpr auto kFields = std::tuple{&Rread::data};
};
struct Tread {
  using Reply = Rread;
  static constexpr auto kType = MsgType::kTread;
  Fid fid{};
  uint64_t offset = 0;
  uint32_t count = 0;
  static constexpr auto kFields = std::tuple{&Tread::fid, &Tread::offset, &Tread::count};
};

struct Rwrite {
  static constexpr auto kType = MsgType::kRwrite;
  uint32_t count = 0;
  static constexpr auto kFields = std::tuple{&Rwrite::count};
};
struct Twrite {
  using Reply = Rwrite;
  static constexpr auto kType = MsgType::kTwrite;
  Fid fid{};
  uint64_t offset = 0;
  ByteSpan data;
  static constexpr auto kFields = std::tuple{&Twrite::fid, &Twrite::offset, &Twrite::data};
};

struct Rclunk {
  static constexpr auto kType = MsgType::kRclunk;
  static constexpr auto kFields = std::tuple{};
};
struct Tclunk {
  using Reply = Rclunk;
  static constexpr auto kType = MsgType::kTclunk;
  Fid fid{};
  static constexpr auto kFields = std::tuple{&Tclunk::fid};
};

struct Rremove {
  static constexpr auto kType = MsgType::kRremove;
  static constexpr auto kFields = std::tuple{};
};
struct Tremove {
  using Reply = Rremove;
  static constexpr auto kType = MsgType::kTremove;
  Fid fid{};
  static constexpr auto kFields = std::tuple{&Tremove::fid};
};

// From here on: the Run9 dialect, only after both sides said 9P2000.L.x.
struct Rcaps {
  static constexpr auto kType = MsgType::kRcaps;
  uint64_t have = 0;
  uint16_t maxwalk = 0;
  uint16_t maxclunk = 0;
  static constexpr auto kFields = std::tuple{&Rcaps::have, &Rcaps::maxwalk, &Rcaps::maxclunk};
};
struct Tcaps {
  using Reply = Rcaps;
  static constexpr auto kType = MsgType::kTcaps;
  uint64_t want = 0;
  static constexpr auto kFields = std::tuple{&Tcaps::want};
};

struct Rwalkx {
  static constexpr auto kType = MsgType::kRwalkx;
  WalkStatus status{};
  uint8_t rflags = 0;
  uint32_t error = 0;  // an errno, with kFailed
  uint32_t iounit = 0;
  std::string_view target;
  List<WalkedX, kMaxWalkx> walked;
  // With kWalkLease: the watch on the start, and on each component walked; 0: none.
  Trailing<List<uint32_t, kMaxWalkx + 1>> leases;
  static constexpr auto kFields = std::tuple{
      &Rwalkx::status, &Rwalkx::rflags, &Rwalkx::error, &Rwalkx::iounit, &Rwalkx::target,
      &Rwalkx::walked, &Rwalkx::leases};
};
struct Twalkx {
  using Reply = Rwalkx;
  static constexpr auto kType = MsgType::kTwalkx;
  Fid fid{};
  Fid newfid = kNoFid;
  Fid openfid = kNoFid;
  uint32_t wflags = 0;
  uint64_t attrmask = 0;
  OpenFlags oflags{};
  uint32_t mode = 0;
  uint32_t uid = kNoId;
  uint32_t gid = kNoId;
  List<Name, kMaxWalkx> names;
  static constexpr auto kFields = std::tuple{
      &Twalkx::fid, &Twalkx::newfid, &Twalkx::openfid, &Twalkx::wflags, &Twalkx::attrmask,
      &Twalkx::oflags, &Twalkx::mode, &Twalkx::uid, &Twalkx::gid, &Twalkx::names};
};

struct Rreaddirx {
  static constexpr auto kType = MsgType::kRreaddirx;
  uint32_t flags = 0;
  ByteSpan data;  // DirentXs, whole ones
  static constexpr auto kFields = std::tuple{&Rreaddirx::flags, &Rreaddirx::data};
};
struct Treaddirx {
  using Reply = Rreaddirx;
  static constexpr auto kType = MsgType::kTreaddirx;
  Fid fid{};
  uint64_t offset = 0;
  uint32_t count = 0;
  uint64_t attrmask = 0;
  uint32_t flags = 0;
  static constexpr auto kFields = std::tuple{
      &Treaddirx::fid, &Treaddirx::offset, &Treaddirx::count, &Treaddirx::attrmask,
      &Treaddirx::flags};
};

struct Rwalkdir {
  static constexpr auto kType = MsgType::kRwalkdir;
  uint32_t flags = 0;  // kReaddirEof
  ByteSpan data;       // DirentXs, whole ones
  static constexpr auto kFields = std::tuple{&Rwalkdir::flags, &Rwalkdir::data};
};
struct Twalkdir {
  using Reply = Rwalkdir;
  static constexpr auto kType = MsgType::kTwalkdir;
  Fid fid{};
  Fid newfid = kNoFid;  // the directory, if there are entries to answer with
  uint32_t count = 0;
  uint64_t attrmask = 0;
  List<Name, kMaxWalkx> names;
  static constexpr auto kFields = std::tuple{
      &Twalkdir::fid, &Twalkdir::newfid, &Twalkdir::count, &Twalkdir::attrmask, &Twalkdir::names};
};

struct Rmclunk {
  static constexpr auto kType = MsgType::kRmclunk;
  List<uint32_t, kMaxClunks> errors;  // 0 or an errno for each fid
  static constexpr auto kFields = std::tuple{&Rmclunk::errors};
};
struct Tmclunk {
  using Reply = Rmclunk;
  static constexpr auto kType = MsgType::kTmclunk;
  List<Fid, kMaxClunks> fids;
  static constexpr auto kFields = std::tuple{&Tmclunk::fids};
};

struct Rsetx {
  static constexpr auto kType = MsgType::kRsetx;
  AttrX attr;  // after the change
  static constexpr auto kFields = std::tuple{&Rsetx::attr};
};
struct Tsetx {
  using Reply = Rsetx;
  static constexpr auto kType = MsgType::kTsetx;
  Fid fid{};
  SetAttr attr;
  uint64_t attrmask = 0;
  static constexpr auto kFields = std::tuple{&Tsetx::fid, &Tsetx::attr, &Tsetx::attrmask};
};

struct Rrename2 {
  static constexpr auto kType = MsgType::kRrename2;
  static constexpr auto kFields = std::tuple{};
};
struct Trename2 {
  using Reply = Rrename2;
  static constexpr auto kType = MsgType::kTrename2;
  Fid olddirfid{};
  Name oldname;
  Fid newdirfid{};
  Name newname;
  uint32_t flags = 0;
  static constexpr auto kFields = std::tuple{
      &Trename2::olddirfid, &Trename2::oldname, &Trename2::newdirfid, &Trename2::newname,
      &Trename2::flags};
};

struct Rgetxa {
  static constexpr auto kType = MsgType::kRgetxa;
  uint32_t size = 0;
  ByteSpan value;
  static constexpr auto kFields = std::tuple{&Rgetxa::size, &Rgetxa::value};
};
struct Tgetxa {
  using Reply = Rgetxa;
  static constexpr auto kType = MsgType::kTgetxa;
  Fid fid{};
  std::string_view name;
  uint32_t size = 0;  // the most the client takes; 0 asks for the size alone
  static constexpr auto kFields = std::tuple{&Tgetxa::fid, &Tgetxa::name, &Tgetxa::size};
};

struct Rsetxa {
  static constexpr auto kType = MsgType::kRsetxa;
  static constexpr auto kFields = std::tuple{};
};
struct Tsetxa {
  using Reply = Rsetxa;
  static constexpr auto kType = MsgType::kTsetxa;
  Fid fid{};
  std::string_view name;
  uint32_t flags = 0;
  ByteSpan value;
  static constexpr auto kFields = std::tuple{
      &Tsetxa::fid, &Tsetxa::name, &Tsetxa::flags, &Tsetxa::value};
};

struct Rlistxa {
  static constexpr auto kType = MsgType::kRlistxa;
  uint32_t size = 0;
  ByteSpan names;  // NUL-terminated names
  static constexpr auto kFields = std::tuple{&Rlistxa::size, &Rlistxa::names};
};
struct Tlistxa {
  using Reply = Rlistxa;
  static constexpr auto kType = MsgType::kTlistxa;
  Fid fid{};
  uint32_t size = 0;
  static constexpr auto kFields = std::tuple{&Tlistxa::fid, &Tlistxa::size};
};

struct Rrmxa {
  static constexpr auto kType = MsgType::kRrmxa;
  static constexpr auto kFields = std::tuple{};
};
struct Trmxa {
  using Reply = Rrmxa;
  static constexpr auto kType = MsgType::kTrmxa;
  Fid fid{};
  std::string_view name;
  static constexpr auto kFields = std::tuple{&Trmxa::fid, &Trmxa::name};
};

struct Rfdget {
  static constexpr auto kType = MsgType::kRfdget;
  Qid qid;
  static constexpr auto kFields = std::tuple{&Rfdget::qid};
};
struct Tfdget {
  using Reply = Rfdget;
  static constexpr auto kType = MsgType::kTfdget;
  Fid fid{};
  OpenFlags oflags{};
  static constexpr auto kFields = std::tuple{&Tfdget::fid, &Tfdget::oflags};
};

struct Rfalloc {
  static constexpr auto kType = MsgType::kRfalloc;
  AttrX attr;
  static constexpr auto kFields = std::tuple{&Rfalloc::attr};
};
struct Tfalloc {
  using Reply = Rfalloc;
  static constexpr auto kType = MsgType::kTfalloc;
  Fid fid{};
  uint32_t mode = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t attrmask = 0;
  static constexpr auto kFields = std::tuple{
      &Tfalloc::fid, &Tfalloc::mode, &Tfalloc::offset, &Tfalloc::length, &Tfalloc::attrmask};
};

struct Rseek {
  static constexpr auto kType = MsgType::kRseek;
  uint64_t offset = 0;
  static constexpr auto kFields = std::tuple{&Rseek::offset};
};
struct Tseek {
  using Reply = Rseek;
  static constexpr auto kType = MsgType::kTseek;
  Fid fid{};
  uint64_t offset = 0;
  uint8_t whence = 0;
  static constexpr auto kFields = std::tuple{&Tseek::fid, &Tseek::offset, &Tseek::whence};
};

struct Rlease {
  static constexpr auto kType = MsgType::kRlease;
  static constexpr auto kFields = std::tuple{};
};
struct Tlease {
  using Reply = Rlease;
  static constexpr auto kType = MsgType::kTlease;
  static constexpr auto kFields = std::tuple{};
};

struct Rmopen {
  static constexpr auto kType = MsgType::kRmopen;
  static constexpr bool kManyFds = true;
  List<OpenedX, kMaxOpens> files;  // of each name, as far as the server went
  static constexpr auto kFields = std::tuple{&Rmopen::files};
};
struct Tmopen {
  using Reply = Rmopen;
  static constexpr auto kType = MsgType::kTmopen;
  Fid fid{};  // their directory
  List<Name, kMaxOpens> names;
  static constexpr auto kFields = std::tuple{&Tmopen::fid, &Tmopen::names};
};

template <typename... M>
struct TypeList {};
using Requests = TypeList<
    Tstatfs, Tlopen, Tlcreate, Tsymlink, Tmknod, Trename, Treadlink, Tgetattr, Tsetattr,
    Txattrwalk, Txattrcreate, Treaddir, Tfsync, Tlock, Tgetlock, Tlink, Tmkdir, Trenameat,
    Tunlinkat, Tversion, Tauth, Tattach, Tflush, Twalk, Tread, Twrite, Tclunk, Tremove, Tcaps,
    Twalkx, Treaddirx, Twalkdir, Tmclunk, Tsetx, Trename2, Tgetxa, Tsetxa, Tlistxa, Trmxa, Tfdget, Tfalloc,
    Tseek, Tlease, Tmopen>;
using Replies = TypeList<
    Rlerror, Rstatfs, Rlopen, Rlcreate, Rsymlink, Rmknod, Rrename, Rreadlink, Rgetattr, Rsetattr,
    Rxattrwalk, Rxattrcreate, Rreaddir, Rfsync, Rlock, Rgetlock, Rlink, Rmkdir, Rrenameat,
    Runlinkat, Rversion, Rauth, Rattach, Rflush, Rwalk, Rread, Rwrite, Rclunk, Rremove, Rcaps,
    Rwalkx, Rreaddirx, Rwalkdir, Rmclunk, Rsetx, Rrename2, Rgetxa, Rsetxa, Rlistxa, Rrmxa, Rfdget, Rfalloc,
    Rseek, Rlease, Rmopen>;

// "Tlopen"; "?" for a number that is no message.
std::string_view name_of(MsgType t);

}  // namespace run9::p9
