#include "sentry/control/control_server.h"

#include <sys/socket.h>

#include "base/log.h"
#include "sentry/control/message_io.h"

namespace run9::sentry {
namespace {

using control::Blocking;

constexpr size_t kMaxConnections = 256;

// A descriptor for every slot of ProcessSpec::stdio and ProcessSpec::extra that the request names.
Result<void> place_descriptors(const control::Exec& exec, std::vector<UniqueFd> fds, ProcessSpec& out) {
  if (static_cast<size_t>(exec.stdio_slots_size()) != fds.size()) return Errno{EPROTO};
  for (size_t i = 0; i < fds.size(); ++i) {
    uint32_t slot = exec.stdio_slots(static_cast<int>(i));
    auto& place = slot < control::kFirstExtraSlot ? out.stdio : out.extra;
    if (slot >= control::kFirstExtraSlot) slot -= control::kFirstExtraSlot;
    if (slot >= control::kMaxDescriptors) return Errno{EPROTO};
    if (place.size() <= slot) place.resize(slot + 1);
    place[slot] = std::move(fds[i]);
  }
  return ok();
}

Result<ProcessSpec> to_spec(const control::Exec& exec, std::vector<UniqueFd> fds) {
  ProcessSpec spec;
  spec.args.assign(exec.args().begin(), exec.args().end());
  spec.env.assign(exec.env().begin(), exec.env().end());
  spec.cwd = exec.cwd();
  spec.uid = exec.uid();
  spec.gid = exec.gid();
  spec.groups.assign(exec.groups().begin(), exec.groups().end());
  if (exec.has_umask()) spec.umask = exec.umask();
  spec.caps_bounding = exec.caps_bounding();
  spec.caps_effective = exec.caps_effective();
  spec.caps_permitted = exec.caps_permitted();
  spec.caps_inheritable = exec.caps_inheritable();
  spec.caps_ambient = exec.caps_ambient();
  spec.no_new_privs = exec.no_new_privs();
  spec.terminal = exec.terminal();
  spec.rows = static_cast<uint16_t>(exec.rows());
  spec.columns = static_cast<uint16_t>(exec.columns());
  for (const control::Rlimit& r : exec.rlimits()) {
    if (r.resource() >= RLIM_NLIMITS) return Errno{EINVAL};
    spec.rlimits.emplace_back(static_cast<int>(r.resource()), rlimit{r.soft(), r.hard()});
  }
  spec.oom_score_adj = exec.oom_score_adj();
  spec.user = exec.user();
  TRY(place_descriptors(exec, std::move(fds), spec));
  if (spec.args.empty()) return Errno{EINVAL};
  return spec;
}

control::Reply exited(int wait_status) {
  control::Reply r;
  r.mutable_exited()->set_status(wait_status);
  return r;
}

}  // namespace

class ControlServer::Connection : public FdHandler {
 public:
  Connection(ControlServer& server, uint64_t id, UniqueFd socket)
      : server_(server), id_(id), socket_(std::move(socket)) {}
  void on_ready(uint32_t) override { server_.read_request(id_); }
  BorrowedFd socket() const { return socket_.borrow(); }
  bool asked = false;  // its one request has come

 private:
  ControlServer& server_;
  uint64_t id_;
  UniqueFd socket_;
};

class ControlServer::Listener : public FdHandler {
 public:
  explicit Listener(ControlServer& server) : server_(server) {}
  void on_ready(uint32_t) override { server_.accept_one(); }

 private:
  ControlServer& server_;
};

ControlServer::ControlServer(EventLoop& loop, UniqueFd listen_fd, ControlHooks hooks)
    : loop_(loop), listen_(std::move(listen_fd)), hooks_(std::move(hooks)),
      listener_(std::make_unique<Listener>(*this)), profile_end_(loop, [this] { finish_profile(); }) {}

ControlServer::~ControlServer() {
  *alive_ = false;
  for (auto& [id, c] : connections_) loop_.unwatch(c->socket());
  loop_.unwatch(listen_.borrow());
}

Result<void> ControlServer::start() { return loop_.watch(listen_.borrow(), EPOLLIN, *listener_); }

ControlServer::Connection* ControlServer::find(uint64_t id) {
  const auto at = connections_.find(id);
  return at == connections_.end() ? nullptr : at->second.get();
}

void ControlServer::accept_one() {
  UniqueFd socket(accept4(listen_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.valid()) return;
  if (connections_.size() >= kMaxConnections) {
    log_warn("control: more than {} connections, one refused", kMaxConnections);
    return;
  }
  const uint64_t id = next_id_++;
  auto connection = std::make_unique<Connection>(*this, id, std::move(socket));
  if (!loop_.watch(connection->socket(), EPOLLIN, *connection)) return;
  connections_.emplace(id, std::move(connection));
}

void ControlServer::close_connection(uint64_t id) {
  const auto at = connections_.find(id);
  if (at == connections_.end()) return;
  std::erase_if(waiting_, [id](const auto& w) { return w.second == id; });
  if (id == profiling_) (void)end_profile();
  loop_.unwatch(at->second->socket());
  connections_.erase(at);
}

void ControlServer::read_request(uint64_t id) {
  Connection* c = find(id);
  if (c == nullptr) return;
  control::Request request;
  std::vector<UniqueFd> descriptors;
  auto got = control::receive_message(c->socket(), request, &descriptors, Blocking::kNo);
  if (!got && got.error() == Errno{EAGAIN}) return;
  // A second request on one connection is a mistake of the peer's.
  if (!got || !got.assume_value() || c->asked) return close_connection(id);
  c->asked = true;
  loop_.spawn([this, alive = alive_, id, request = std::move(request),
               fds = std::make_shared<std::vector<UniqueFd>>(std::move(descriptors))]() {
    if (*alive) serve(id, request, std::move(*fds));
  });
}

void ControlServer::serve(uint64_t id, const control::Request& request,
                          std::vector<UniqueFd> descriptors) {
  using Kind = control::Request::KindCase;
  switch (request.kind_case()) {
    case Kind::kExec: return serve_exec(id, request.exec(), std::move(descriptors));
    case Kind::kWait: return serve_wait(id, request.wait().pid());
    case Kind::kSignal: {
      const auto& s = request.signal();
      if (s.signo() < 0 || s.signo() > 64) return reply_result(id, Errno{EINVAL}, "signal");
      return reply_result(id, hooks_.signal(s.pid(), s.signo(), s.all()), "signal");
    }
    case Kind::kResize: {
      const auto& r = request.resize();
      return reply_result(id, hooks_.resize(r.pid(), static_cast<uint16_t>(r.rows()),
                                            static_cast<uint16_t>(r.columns())), "resize");
    }
    case Kind::kPs: {
      control::Reply r;
      hooks_.processes(*r.mutable_processes());
      reply(id, r);
      return;
    }
    case Kind::kState: {
      control::Reply r;
      hooks_.state(*r.mutable_state());
      reply(id, r);
      return;
    }
    case Kind::kUpdate:
      hooks_.update(request.update());
      return reply_result(id, ok(), "update");
    case Kind::kProfile: return serve_profile(id, request.profile().milliseconds());
    case Kind::KIND_NOT_SET: return reply_result(id, Errno{ENOSYS}, "request");
  }
}

void ControlServer::serve_exec(uint64_t id, const control::Exec& exec,
                               std::vector<UniqueFd> descriptors) {
  auto spec = to_spec(exec, std::move(descriptors));
  if (!spec) return reply_result(id, spec.error(), "exec");
  // The process may end before spawn has told its number.
  struct Progress {
    int32_t pid = 0;
    std::optional<int> status;
  };
  auto progress = std::make_shared<Progress>();
  const auto on_exit = [this, alive = alive_, progress](int status) {
    progress->status = status;
    if (*alive && progress->pid != 0) process_exited(progress->pid, status);
  };
  std::string error;
  auto pid = hooks_.spawn(std::move(spec).assume_value(), on_exit, error);
  if (!pid) return reply_result(id, pid.error(), error);
  progress->pid = pid.assume_value();
  started_[progress->pid] = id;
  waiting_.emplace(progress->pid, id);
  control::Reply r;
  r.mutable_started()->set_pid(progress->pid);
  reply(id, r);
  if (progress->status) process_exited(progress->pid, *progress->status);
}

void ControlServer::serve_wait(uint64_t id, int32_t pid) {
  if (pid > 1 && !started_.contains(pid)) return reply_result(id, Errno{ECHILD}, "wait");
  waiting_.emplace(pid > 1 ? pid : 0, id);
}

void ControlServer::serve_profile(uint64_t id, uint32_t milliseconds) {
  if (profiling_ != 0) return reply_result(id, Errno{EBUSY}, "profile");
  profiling_ = id;
  hooks_.start_profile();
  if (milliseconds != 0) profile_end_.arm(EventLoop::now_ns() + uint64_t{milliseconds} * 1'000'000);
  reply_result(id, ok(), "profile");
}

control::Reply ControlServer::end_profile() {
  control::Reply r;
  profile_end_.disarm();
  profiling_ = 0;
  hooks_.stop_profile(*r.mutable_profile());
  return r;
}

void ControlServer::finish_profile() {
  if (const uint64_t id = profiling_; id != 0) reply(id, end_profile());
}

void ControlServer::process_exited(int32_t pid, int wait_status) {
  started_.erase(pid);
  std::vector<uint64_t> ids;
  for (auto [at, end] = waiting_.equal_range(pid); at != end; ++at) ids.push_back(at->second);
  for (const uint64_t id : ids) {
    reply(id, exited(wait_status));
    close_connection(id);
  }
}

void ControlServer::container_exited(int wait_status) {
  finish_profile();
  process_exited(0, wait_status);
}

bool ControlServer::reply(uint64_t id, const control::Reply& reply) {
  Connection* c = find(id);
  if (c == nullptr) return false;
  if (control::send_message(c->socket(), reply, {}, Blocking::kNo)) return true;
  close_connection(id);
  return false;
}

void ControlServer::reply_result(uint64_t id, Result<void> result, std::string_view what) {
  control::Reply r;
  if (result) {
    r.mutable_done();
  } else {
    r.mutable_failed()->set_error(to_int(result.error()));
    r.mutable_failed()->set_what(std::string(what));
  }
  reply(id, r);
}

}  // namespace run9::sentry
