#include "p9/messages.h"

namespace run9::p9 {

std::string_view name_of(MsgType t) {
  switch (t) {
    case MsgType::kRlerror: return "Rlerror";
    case MsgType::kTstatfs: return "Tstatfs";
    case MsgType::kRstatfs: return "Rstatfs";
    case MsgType::kTlopen: return "Tlopen";
    case MsgType::kRlopen: return "Rlopen";
    case MsgType::kTlcreate: return "Tlcreate";
    case MsgType::kRlcreate: return "Rlcreate";
    case MsgType::kTsymlink: return "Tsymlink";
    case MsgType::kRsymlink: return "Rsymlink";
    case MsgType::kTmknod: return "Tmknod";
    case MsgType::kRmknod: return "Rmknod";
    case MsgType::kTrename: return "Trename";
    case MsgType::kRrename: return "Rrename";
    case MsgType::kTreadlink: return "Treadlink";
    case MsgType::kRreadlink: return "Rreadlink";
    case MsgType::kTgetattr: return "Tgetattr";
    case MsgType::kRgetattr: return "Rgetattr";
    case MsgType::kTsetattr: return "Tsetattr";
    case MsgType::kRsetattr: return "Rsetattr";
    case MsgType::kTxattrwalk: return "Txattrwalk";
    case MsgType::kRxattrwalk: return "Rxattrwalk";
    case MsgType::kTxattrcreate: return "Txattrcreate";
    case MsgType::kRxattrcreate: return "Rxattrcreate";
    case MsgType::kTreaddir: return "Treaddir";
    case MsgType::kRreaddir: return "Rreaddir";
    case MsgType::kTfsync: return "Tfsync";
    case MsgType::kRfsync: return "Rfsync";
    case MsgType::kTlock: return "Tlock";
    case MsgType::kRlock: return "Rlock";
    case MsgType::kTgetlock: return "Tgetlock";
    case MsgType::kRgetlock: return "Rgetlock";
    case MsgType::kTlink: return "Tlink";
    case MsgType::kRlink: return "Rlink";
    case MsgType::kTmkdir: return "Tmkdir";
    case MsgType::kRmkdir: return "Rmkdir";
    case MsgType::kTrenameat: return "Trenameat";
    case MsgType::kRrenameat: return "Rrenameat";
    case MsgType::kTunlinkat: return "Tunlinkat";
    case MsgType::kRunlinkat: return "Runlinkat";
    case MsgType::kTversion: return "Tversion";
    case MsgType::kRversion: return "Rversion";
    case MsgType::kTauth: return "Tauth";
    case MsgType::kRauth: return "Rauth";
    case MsgType::kTattach: return "Tattach";
    case MsgType::kRattach: return "Rattach";
    case MsgType::kTflush: return "Tflush";
    case MsgType::kRflush: return "Rflush";
    case MsgType::kTwalk: return "Twalk";
    case MsgType::kRwalk: return "Rwalk";
    case MsgType::kTread: return "Tread";
    case MsgType::kRread: return "Rread";
    case MsgType::kTwrite: return "Twrite";
    case MsgType::kRwrite: return "Rwrite";
    case MsgType::kTclunk: return "Tclunk";
    case MsgType::kRclunk: return "Rclunk";
    case MsgType::kTremove: return "Tremove";
    case MsgType::kRremove: return "Rremove";
    case MsgType::kTcaps: return "Tcaps";
    case MsgType::kRcaps: return "Rcaps";
    case MsgType::kTwalkx: return "Twalkx";
    case MsgType::kRwalkx: return "Rwalkx";
    case MsgType::kTreaddirx: return "Treaddirx";
    case MsgType::kRreaddirx: return "Rreaddirx";
    case MsgType::kTwalkdir: return "Twalkdir";
    case MsgType::kRwalkdir: return "Rwalkdir";
    case MsgType::kTmclunk: return "Tmclunk";
    case MsgType::kRmclunk: return "Rmclunk";
    case MsgType::kTsetx: return "Tsetx";
    case MsgType::kRsetx: return "Rsetx";
    case MsgType::kTrename2: return "Trename2";
    case MsgType::kRrename2: return "Rrename2";
    case MsgType::kTgetxa: return "Tgetxa";
    case MsgType::kRgetxa: return "Rgetxa";
    case MsgType::kTsetxa: return "Tsetxa";
    case MsgType::kRsetxa: return "Rsetxa";
    case MsgType::kTlistxa: return "Tlistxa";
    case MsgType::kRlistxa: return "Rlistxa";
    case MsgType::kTrmxa: return "Trmxa";
    case MsgType::kRrmxa: return "Rrmxa";
    case MsgType::kTfdget: return "Tfdget";
    case MsgType::kRfdget: return "Rfdget";
    case MsgType::kTfalloc: return "Tfalloc";
    case MsgType::kRfalloc: return "Rfalloc";
    case MsgType::kTseek: return "Tseek";
    case MsgType::kRseek: return "Rseek";
    case MsgType::kTlease: return "Tlease";
    case MsgType::kRlease: return "Rlease";
  }
  return "?";
}

}  // namespace run9::p9
