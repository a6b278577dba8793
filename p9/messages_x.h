// The messages of the Run9 dialect, only after both sides said 9P2000.L.x: spec/9p2000Lx.md.
#pragma once
#include "p9/message_type.h"

namespace run9::p9 {

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

struct Rmkx {
  static constexpr auto kType = MsgType::kRmkx;
  Qid qid;
  AttrX attr;
  static constexpr auto kFields = std::tuple{&Rmkx::qid, &Rmkx::attr};
};
struct Tmkx {
  using Reply = Rmkx;
  static constexpr auto kType = MsgType::kTmkx;
  Fid dfid{};
  Fid newfid = kNoFid;
  Name name;
  uint32_t mode = 0;  // with the S_IFMT bits, which say what to make
  uint32_t uid = kNoId;
  uint32_t gid = kNoId;
  uint32_t major = 0;
  uint32_t minor = 0;
  std::string_view target;  // of a symlink
  uint64_t attrmask = 0;
  static constexpr auto kFields = std::tuple{
      &Tmkx::dfid, &Tmkx::newfid, &Tmkx::name, &Tmkx::mode, &Tmkx::uid, &Tmkx::gid,
      &Tmkx::major, &Tmkx::minor, &Tmkx::target, &Tmkx::attrmask};
};

struct Rcopy {
  static constexpr auto kType = MsgType::kRcopy;
  uint64_t copied = 0;
  static constexpr auto kFields = std::tuple{&Rcopy::copied};
};
struct Tcopy {
  using Reply = Rcopy;
  static constexpr auto kType = MsgType::kTcopy;
  Fid infid{};
  uint64_t inoffset = 0;
  Fid outfid{};
  uint64_t outoffset = 0;
  uint64_t length = 0;
  static constexpr auto kFields = std::tuple{
      &Tcopy::infid, &Tcopy::inoffset, &Tcopy::outfid, &Tcopy::outoffset, &Tcopy::length};
};

struct Rsyncfs {
  static constexpr auto kType = MsgType::kRsyncfs;
  static constexpr auto kFields = std::tuple{};
};
struct Tsyncfs {
  using Reply = Rsyncfs;
  static constexpr auto kType = MsgType::kTsyncfs;
  Fid fid{};
  static constexpr auto kFields = std::tuple{&Tsyncfs::fid};
};

struct Rring {
  static constexpr auto kType = MsgType::kRring;
  uint32_t stream_size = 0;  // what it is; the memory comes with this reply
  static constexpr auto kFields = std::tuple{&Rring::stream_size};
};
struct Tring {
  using Reply = Rring;
  static constexpr auto kType = MsgType::kTring;
  uint32_t stream_size = 0;  // what the client wishes
  static constexpr auto kFields = std::tuple{&Tring::stream_size};
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
  static constexpr bool kManyFds = true;  // of them on one frame, where other replies have one at most
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

struct Rlockx {
  static constexpr auto kType = MsgType::kRlockx;
  LockStatus status{};  // kSuccess or kBlocked
  static constexpr auto kFields = std::tuple{&Rlockx::status};
};
struct Tlockx {
  using Reply = Rlockx;
  static constexpr auto kType = MsgType::kTlockx;
  Fid fid{};
  LockType type{};
  uint32_t flags = 0;  // kLockWait, kLockWhole
  uint64_t start = 0;
  uint64_t length = 0;  // 0: to the end
  static constexpr auto kFields = std::tuple{
      &Tlockx::fid, &Tlockx::type, &Tlockx::flags, &Tlockx::start, &Tlockx::length};
};

struct Rsock {
  static constexpr auto kType = MsgType::kRsock;
  static constexpr auto kFields = std::tuple{};
};
struct Tsock {
  using Reply = Rsock;
  static constexpr auto kType = MsgType::kTsock;
  Fid fid{};
  uint32_t type = 0;  // SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET
  static constexpr auto kFields = std::tuple{&Tsock::fid, &Tsock::type};
};

struct Revents {
  static constexpr auto kType = MsgType::kRevents;
  uint32_t watch = 0;  // the `wd` of the events to come
  static constexpr auto kFields = std::tuple{&Revents::watch};
};
struct Tevents {
  using Reply = Revents;
  static constexpr auto kType = MsgType::kTevents;
  Fid fid{};
  uint32_t mask = 0;   // inotify's IN_...; 0: no more
  uint32_t flags = 0;  // kEventsFd
  static constexpr auto kFields = std::tuple{&Tevents::fid, &Tevents::mask, &Tevents::flags};
};

}  // namespace run9::p9
