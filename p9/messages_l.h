// The messages of 9P2000.L: spec/9p2000L.md.
#pragma once
#include "p9/message_type.h"

namespace run9::p9 {

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

}  // namespace run9::p9
