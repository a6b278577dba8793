// Every message of 9P2000.L (messages_l.h) and of the Run9 dialect (messages_x.h), as a struct with its members in wire order.
// Strings and data of a decoded message are views into the frame it came from. The tables are in
// spec/9p2000L.md and spec/9p2000Lx.md; the order of dispatch is that of `Requests` below.
#pragma once
#include "p9/messages_l.h"
#include "p9/messages_x.h"

namespace run9::p9 {

template <typename... M>
struct TypeList {};
using Requests = TypeList<
    Tstatfs, Tlopen, Tlcreate, Tsymlink, Tmknod, Trename, Treadlink, Tgetattr, Tsetattr,
    Txattrwalk, Txattrcreate, Treaddir, Tfsync, Tlock, Tgetlock, Tlink, Tmkdir, Trenameat,
    Tunlinkat, Tversion, Tauth, Tattach, Tflush, Twalk, Tread, Twrite, Tclunk, Tremove, Tcaps,
    Twalkx, Treaddirx, Twalkdir, Tmclunk, Tsetx, Trename2, Tgetxa, Tsetxa, Tlistxa, Trmxa, Tfdget, Tfalloc,
    Tseek, Tring, Tlease, Tmkx, Tcopy, Tsyncfs, Tmopen, Tlockx, Tsock, Tevents>;
using Replies = TypeList<
    Rlerror, Rstatfs, Rlopen, Rlcreate, Rsymlink, Rmknod, Rrename, Rreadlink, Rgetattr, Rsetattr,
    Rxattrwalk, Rxattrcreate, Rreaddir, Rfsync, Rlock, Rgetlock, Rlink, Rmkdir, Rrenameat,
    Runlinkat, Rversion, Rauth, Rattach, Rflush, Rwalk, Rread, Rwrite, Rclunk, Rremove, Rcaps,
    Rwalkx, Rreaddirx, Rwalkdir, Rmclunk, Rsetx, Rrename2, Rgetxa, Rsetxa, Rlistxa, Rrmxa, Rfdget, Rfalloc,
    Rseek, Rring, Rlease, Rmkx, Rcopy, Rsyncfs, Rmopen, Rlockx, Rsock, Revents>;

}  // namespace run9::p9
