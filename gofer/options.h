// run9-gofer's command line.
#pragma once
#include <chrono>
#include <string>
#include <vector>

#include "gofer/jail.h"
#include "p9/transport/address.h"

namespace run9::gofer {

struct ListenSpec {
  std::string text;               // as it was written
  int fd = -1;                    // a stream socket that we inherited, connected or listening; or
  std::optional<p9::Address> at;  // where to listen; or
  std::optional<std::string> systemd;  // the name of sockets that systemd has made; empty: all
  std::string export_name;  // the one export of this connection; empty: chosen by Tattach
};

struct Options {
  JailOptions jail;
  std::vector<ListenSpec> listen;
  ListenSpec control;  // at or fd, or neither: for run9-metrics (control.h)
  std::string config;  // the other options' file: be a supervisor (supervisor.h)
  bool has_control() const { return control.fd >= 0 || control.at; }
  int log_fd = 2;
  int ready_fd = -1;
  bool no_jail = false;
  bool debug = false;
  bool log_9p = false;
  bool host_sockets = false;  // clients may connect to the unix sockets in the exports
  std::chrono::microseconds busy_poll{150};
  // For connections that were accepted.
  std::chrono::seconds frame_timeout{30};
  // What requests under way and replies get after SIGTERM.
  std::chrono::seconds drain_timeout{10};
};

// On a mistake nothing, and `error` says what to change.
std::optional<Options> parse_options(const std::vector<std::string>& args, std::string& error);

}  // namespace run9::gofer
