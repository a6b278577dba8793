// Session: one connection's server side without the connection. A frame in, exactly one reply frame
// out, answered at once on the caller's thread; but for a Tlockx that waits, whose reply comes later, and which Tflush
// may end. Knows messages, fids and limits; the files are the FileServer's.
#pragma once
#include <functional>

#include "p9/codec.h"
#include "p9/frame_buffer.h"
#include "p9/ring_memory.h"
#include "p9/server/backend.h"
#include "p9/server/fid_table.h"

namespace run9::p9 {

struct SessionOptions {
  uint32_t max_msize = kMaxMsize;
  size_t max_fids = 65536;
  bool dialect = true;
  // Makes the memory of a ring, of about the size asked for, and goes over to it after the reply. Without it there is
  // none, nor where the FileServer sends no descriptors.
  std::function<Result<RingMemory>(uint32_t)> make_ring;
};

// Replies in order, and the descriptors that some of them carry.
struct ReplyBatch {
  struct Donation {
    size_t start = 0;  // the frame's place in `bytes`
    size_t end = 0;
    std::vector<UniqueFd> fds;
  };
  FrameBuffer bytes;
  std::vector<Donation> donations;  // by ascending start
  void clear() {
    bytes.clear();
    donations.clear();
  }
};

enum class Verdict { kContinue, kClose };

class Session {
 public:
  // The server outlives the session.
  explicit Session(FileServer& server, SessionOptions options = {});
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // One whole frame, as a FrameSplitter gives it; its reply, if it is not one that waits, is appended to `out`, and
  // in front of Rflush that of what was flushed. kClose: send what is in `out` and hang up.
  Verdict handle_frame(ByteSpan frame, ReplyBatch& out);

  // Readable when a request that waited has its reply, which take_late_replies() then gives. Invalid: none waits.
  BorrowedFd news() const { return waiting_.empty() ? BorrowedFd{} : server_.news(); }
  void take_late_replies(ReplyBatch& out);

  // The largest frame to accept, for the splitter.
  uint32_t max_frame() const { return msize_ != 0 ? msize_ : options_.max_msize; }
  size_t fid_count() const { return fids_.size(); }

 private:
  friend struct Dispatch;

  // What a handler gives whose reply is large enough to be written in place.
  struct InPlace {
    Tag tag;
    ReplyBatch& out;
  };

  struct Waiting {
    Tag tag;
    std::unique_ptr<LockWait> lock;
  };
  bool is_waiting(Tag tag) const;

  template <typename T>
  Result<void> run(ByteSpan frame, Tag tag, ReplyBatch& out);
  Result<void> dispatch(const Header& h, ByteSpan frame, ReplyBatch& out);
  void reset();

  // session.cc
  Result<Rversion> handle(const Tversion& t);
  Result<Rauth> handle(const Tauth& t);
  Result<Rattach> handle(const Tattach& t);
  Result<void> handle(const Tflush& t, InPlace reply);
  Result<Rclunk> handle(const Tclunk& t);
  Result<Rremove> handle(const Tremove& t);
  Result<void> finish(FidEntry entry);

  // session_walk.cc
  Result<Rwalk> handle(const Twalk& t);
  Result<Rwalkx> handle(const Twalkx& t);

  // session_file.cc: what works on the file of one fid
  Result<Rlopen> handle(const Tlopen& t);
  Result<void> handle(const Tread& t, InPlace reply);
  Result<Rwrite> handle(const Twrite& t);
  Result<void> handle(const Treaddir& t, InPlace reply);
  Result<void> handle(const Treaddirx& t, InPlace reply);
  Result<void> handle(const Twalkdir& t, InPlace reply);
  Result<Rfsync> handle(const Tfsync& t);
  Result<Rlock> handle(const Tlock& t);
  Result<Rgetlock> handle(const Tgetlock& t);
  Result<void> handle(const Tlockx& t, InPlace reply);
  Result<Rfdget> handle(const Tfdget& t);
  Result<Rmopen> handle(const Tmopen& t);
  Result<Rfalloc> handle(const Tfalloc& t);
  Result<Rseek> handle(const Tseek& t);
  Result<Rcopy> handle(const Tcopy& t);
  Result<Rsyncfs> handle(const Tsyncfs& t);

  // session_attr.cc
  Result<Rstatfs> handle(const Tstatfs& t);
  Result<Rgetattr> handle(const Tgetattr& t);
  Result<Rsetattr> handle(const Tsetattr& t);
  Result<Rsetx> handle(const Tsetx& t);
  Result<Rreadlink> handle(const Treadlink& t);
  Result<Rxattrwalk> handle(const Txattrwalk& t);
  Result<Rxattrcreate> handle(const Txattrcreate& t);
  Result<Rgetxa> handle(const Tgetxa& t);
  Result<Rsetxa> handle(const Tsetxa& t);
  Result<Rlistxa> handle(const Tlistxa& t);
  Result<Rrmxa> handle(const Trmxa& t);
  Result<void> set_attr(FidEntry& e, SetAttr set);

  // session_tree.cc: names coming, going and moving
  Result<Rlcreate> handle(const Tlcreate& t);
  Result<Rsymlink> handle(const Tsymlink& t);
  Result<Rmknod> handle(const Tmknod& t);
  Result<Rmkdir> handle(const Tmkdir& t);
  Result<Rmkx> handle(const Tmkx& t);
  Result<Rlink> handle(const Tlink& t);
  Result<Rrename> handle(const Trename& t);
  Result<Rrenameat> handle(const Trenameat& t);
  Result<Rrename2> handle(const Trename2& t);
  Result<Runlinkat> handle(const Tunlinkat& t);
  Result<Node*> dir_node(Fid fid);
  Result<void> rename(Fid from, std::string_view name, Fid to, std::string_view new_name,
                      uint32_t flags);

  // session.cc, dialect
  Result<Rcaps> handle(const Tcaps& t);
  Result<Rmclunk> handle(const Tmclunk& t);
  Result<Rlease> handle(const Tlease& t);
  Result<Rring> handle(const Tring& t);
  Result<Rsock> handle(const Tsock& t);
  Result<Revents> handle(const Tevents& t);
  uint64_t caps() const;

  uint32_t max_io() const { return msize_ - kIoHeaderSize; }

  FileServer& server_;
  SessionOptions options_;
  FidTable fids_;
  uint32_t msize_ = 0;  // 0: no Tversion yet
  bool dialect_ = false;
  int stray_frames_ = 0;  // requests before Tversion
  std::vector<Waiting> waiting_;

  // The current reply's: what its views point into, and its descriptors.
  std::string text_;
  std::vector<std::byte> data_;
  std::vector<UniqueFd> donated_;
};

}  // namespace run9::p9
