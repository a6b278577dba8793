// The flags that stand before the command, as runc and runsc have them.
#pragma once
#include <cstdint>
#include <string>

namespace run9::runtime {

struct GlobalOptions {
  std::string root;  // state directories
  std::string log;   // file; empty: standard error
  std::string log_format = "text";
  bool debug = false;
  bool strace = false;
  bool strict = false;
  bool log_9p = false;
  std::string platform = "trap";
  std::string overlay = "none";
  uint64_t memory = 0;
  unsigned host_threads = 8;
  unsigned workers = 1;
  bool eager_workers = false;
};

}  // namespace run9::runtime
