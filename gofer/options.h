// run9-gofer's command line.
#pragma once
#include <chrono>
#include <string>
#include <vector>

#include "gofer/jail.h"
#include "p9/transport/address.h"

namespace run9::gofer {

struct ListenSpec {
  int fd = -1;              // a connected AF_UNIX stream socket that we inherited; or
  std::optional<p9::Address> at;  // where to listen
  std::string export_name;  // the one export of this connection; empty: chosen by Tattach
};

struct Options {
  JailOptions jail;
  std::vector<ListenSpec> listen;
  int log_fd = 2;
  int ready_fd = -1;
  bool no_jail = false;
  bool debug = false;
  bool log_9p = false;
  std::chrono::microseconds busy_poll{150};
};

// On a mistake nothing, and `error` says what to change.
std::optional<Options> parse_options(const std::vector<std::string>& args, std::string& error);

}  // namespace run9::gofer
