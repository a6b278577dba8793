// The commands of `p9`, each in the file of its kind. They tell what failed through the Remote's Reporter.
#pragma once
#include <string>
#include <vector>

#include "cli/remote.h"

namespace run9::cli {

// look.cc
struct LsOptions {
  std::vector<std::string> paths;
  bool long_form = false;
  bool all_below = false;
};
Result<void> cmd_ls(Remote& remote, const LsOptions& options);
Result<void> cmd_stat(Remote& remote, const std::vector<std::string>& paths, Follow follow);
struct CatOptions {
  std::vector<std::string> paths;
  uint64_t offset = 0;
  uint64_t count = ~uint64_t{0};
};
Result<void> cmd_cat(Remote& remote, const CatOptions& options);
Result<void> cmd_statfs(Remote& remote, const std::string& path);

// change.cc
struct WriteOptions {
  std::string path;
  std::string mode = "644";
  uint64_t offset = 0;
  bool append = false;
  bool keep = false;   // what is in the file already, beside what is overwritten
  bool fresh = false;  // fail if it is there
  bool sync = false;
};
Result<void> cmd_write(Remote& remote, const WriteOptions& options);
struct RmOptions {
  std::vector<std::string> paths;
  bool recursive = false;
  bool force = false;
};
Result<void> cmd_rm(Remote& remote, const RmOptions& options);
struct MkdirOptions {
  std::vector<std::string> paths;
  std::string mode = "755";
  bool parents = false;
};
Result<void> cmd_mkdir(Remote& remote, const MkdirOptions& options);
struct MvOptions {
  std::string from;
  std::string to;
  bool no_clobber = false;
};
Result<void> cmd_mv(Remote& remote, const MvOptions& options);

// copy.cc. A path that starts with ':' is the server's, any other the host's.
struct CpOptions {
  std::vector<std::string> from;
  std::string to;
  bool recursive = false;
  bool quiet = false;
};
Result<void> cmd_cp(Remote& remote, const CpOptions& options);

// xattr.cc
struct XattrOptions {
  std::string action;  // list, get, set, rm
  std::string path;
  std::string name;
  std::string value;
  bool no_follow = false;
};
Result<void> cmd_xattr(Remote& remote, const XattrOptions& options);

// lock.cc
struct LockOptions {
  std::string path;
  uint64_t start = 0;
  uint64_t length = 0;
  bool shared = false;
  bool test = false;
  bool wait = false;
  std::vector<std::string> command;
};
// The command's exit status; 0 without one.
Result<int> cmd_lock(Remote& remote, const LockOptions& options);

// trace.cc: needs no Remote, it is a server and a client.
struct TraceOptions {
  std::string server;
  std::string listen;
  bool once = false;     // end with the first connection
  bool summary = false;  // how many of each message, when it ends
};
Result<void> cmd_trace(Reporter& report, const TraceOptions& options);

// bench.cc
struct BenchOptions {
  std::string dir = "/";
  double seconds = 0.5;  // for each row
  uint32_t files = 200;
};
Result<void> cmd_bench(Remote& remote, const BenchOptions& options);

// Octal. Tells what is wrong with it.
Result<uint32_t> parse_mode(Reporter& report, const std::string& text);

}  // namespace run9::cli
