// ControlServer: the Sentry's end of the control socket (spec/control.proto). Accepts connections, reads
// one request from each, answers. It never waits for a peer: an answer that does not fit is dropped with
// the connection. Owned by boot; runs on the worker, so it has no locks.
//
// Who may connect is decided by the socket's place in a 0700 directory: SO_PEERCRED shows only the
// overflow id across the user namespace.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "sentry/boot.h"
#include "sentry/sched/event_loop.h"
#include "spec/control.pb.h"

namespace run9::sentry {

using OnExit = std::function<void(int wait_status)>;

// What requests do. All run on a fiber and may block.
struct ControlHooks {
  // The pid in the container; `on_exit` is called once, later, if and only if the spawn succeeded. `error`
  // says in words why it did not.
  std::function<Result<int32_t>(ProcessSpec, OnExit on_exit, std::string& error)> spawn;
  // pid 0: init.
  std::function<Result<void>(int32_t pid, int signo, bool all)> signal;
  std::function<Result<void>(int32_t pid, uint16_t rows, uint16_t columns)> resize;
  std::function<void(control::Processes&)> processes;
  std::function<void(control::SandboxState&)> state;
  std::function<void(const control::Update&)> update;
  std::function<void()> start_profile;
  std::function<void(control::ProfileReport&)> stop_profile;
};

class ControlServer {
 public:
  ControlServer(EventLoop& loop, UniqueFd listen_fd, ControlHooks hooks);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  Result<void> start();
  // The container's init has ended: answers those who wait for it. Before the loop stops.
  void container_exited(int wait_status);

 private:
  class Connection;
  class Listener;
  friend class Connection;
  friend class Listener;

  void accept_one();
  void read_request(uint64_t id);
  void serve(uint64_t id, const control::Request& request, std::vector<UniqueFd> descriptors);
  void serve_exec(uint64_t id, const control::Exec& exec, std::vector<UniqueFd> descriptors);
  void serve_wait(uint64_t id, int32_t pid);
  void serve_profile(uint64_t id, uint32_t milliseconds);
  control::Reply end_profile();
  void finish_profile();
  void process_exited(int32_t pid, int wait_status);
  // False: the peer is gone or does not read; the connection is closed.
  bool reply(uint64_t id, const control::Reply& reply);
  void reply_result(uint64_t id, Result<void> result, std::string_view what);
  void close_connection(uint64_t id);
  Connection* find(uint64_t id);

  EventLoop& loop_;
  UniqueFd listen_;
  ControlHooks hooks_;
  std::unique_ptr<Listener> listener_;
  // By a number that is never used again: a fiber may outlive the connection it serves.
  std::map<uint64_t, std::unique_ptr<Connection>> connections_;
  std::multimap<int32_t, uint64_t> waiting_;  // pid, connection
  // Processes started here that have not ended, so that `wait` can tell a wrong pid.
  std::map<int32_t, uint64_t> started_;
  uint64_t next_id_ = 1;
  uint64_t profiling_ = 0;  // the connection that gets the profile; 0: none is made
  Timer profile_end_;
  // Callbacks that outlive us look here first.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace run9::sentry
