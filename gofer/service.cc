#include "gofer/service.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <latch>
#include <thread>

#include "base/log.h"
#include "gofer/control.h"
#include "gofer/seccomp.h"
#include "gofer/serve.h"

namespace run9::gofer {
namespace {

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int s : signals) sigaddset(&set, s);
  return set;
}

// Blocked in every thread, so that they wait here.
Result<UniqueFd> signals_fd(std::initializer_list<int> signals) {
  const sigset_t set = set_of(signals);
  TRY(check_call(sigprocmask(SIG_BLOCK, &set, nullptr)));
  return take_fd(signalfd(-1, &set, SFD_CLOEXEC));
}

// What is left for fids and open files, once the limit has been raised as far as it goes.
Result<uint64_t> descriptors_for_clients(size_t jobs) {
  rlimit files;
  TRY(check_call(getrlimit(RLIMIT_NOFILE, &files)));
  const uint64_t own = 64 + 2 * jobs;
  return files.rlim_max > 2 * own ? files.rlim_max - own : own;
}

bool is_readable(const pollfd& p) { return (p.revents & POLLIN) != 0; }

// For its leases, and to connect, the thread goes from directory to directory, and none may pull it away.
void check_directory(const Job& job, const Options& options) {
  if (!job.events.valid() && !options.host_sockets) return;
  if (const auto own = own_working_directory(); !own) {
    log_error("unshare(CLONE_FS): {}", describe(own.error()));
    _exit(1);
  }
}

}  // namespace

Service::Service(const Options& options, Exports exports, std::vector<Job> jobs, UniqueFd control,
                 const Users* users)
    : options_(options),
      exports_(std::move(exports)),
      jobs_(std::move(jobs)),
      control_(std::move(control)),
      users_(users),
      listens_(std::any_of(jobs_.begin(), jobs_.end(), [](const Job& j) { return j.listening; })),
      counters_(make_counters(control_.valid() ? jobs_.size() : 0)) {}

Result<std::unique_ptr<Service>> Service::create(const Options& options, Exports exports,
                                                 std::vector<Job> jobs, UniqueFd control,
                                                 const Users* users) {
  std::unique_ptr<Service> s(
      new Service(options, std::move(exports), std::move(jobs), std::move(control), users));
  if (s->listens_ || s->control_.valid()) {
    s->connections_ = std::make_unique<Connections>(TRY(take_fd(eventfd(0, EFD_CLOEXEC))));
  }
  if (!s->listens_) return s;
  s->pool_ = std::make_unique<DescriptorPool>(TRY(descriptors_for_clients(s->jobs_.size())),
                                              s->jobs_.size());
  s->drain_signals_ = TRY(signals_fd({SIGTERM, SIGINT}));
  s->reload_signal_ = TRY(signals_fd({SIGHUP}));
  s->ended_ = TRY(take_fd(eventfd(0, EFD_CLOEXEC)));
  return s;
}

std::vector<int> Service::descriptors() const {
  std::vector<int> out;
  for (const Job& job : jobs_) {
    out.push_back(job.socket.get());
    if (job.events.valid()) out.push_back(job.events.get());
    out.push_back(job.lock_waits->news().get());
  }
  if (control_.valid()) out.push_back(control_.get());
  if (connections_ != nullptr) out.push_back(connections_->stopping().get());
  if (listens_) out.insert(out.end(), {drain_signals_.get(), reload_signal_.get(), ended_.get()});
  return out;
}

void Service::serve(const Job& job, BorrowedFd socket, Place& place) {
  HostServer server(exports_, job.chosen, job.others, ++served_, job.events.borrow(),
                    job.listening ? pool_.get() : nullptr);
  if (!job.local) server.never_donate();
  server.wait_by(*job.lock_waits);
  if (options_.host_sockets) server.connect_to_sockets();
  if (users_ != nullptr) {
    Actors actors{.users = users_, .identity = &place.identity};
    if (job.local) {
      const auto peer = peer_uid(socket);
      if (!peer)
        return log_.warn("connection refused: SO_PEERCRED: {}", describe(peer.assume_error()));
      actors.peer = peer.assume_value();
    }
    server.act_for(actors);
  }
  p9::ServeOptions how{.session = {}, .busy_poll = options_.busy_poll};
  // Who gave us a connection answers for its other end, which may be frozen; who accepts has few
  // places.
  if (job.listening) how.frame_timeout = options_.frame_timeout;
  const auto done = serve_connection(socket, server, how,
                                     options_.log_9p ? Log9p::kYes : Log9p::kNo, place.counters);
  if (!done) log_.warn("connection ended: {}", describe(done.assume_error()));
}

void Service::accept_all(const Job& job, Place& place) {
  for (;;) {
    pollfd p[] = {{job.socket.get(), POLLIN, 0}, {connections_->stopping().get(), POLLIN, 0}};
    if (poll(p, std::size(p), -1) < 0 && errno != EINTR)
      return log_error("poll: {}", describe(last_errno()));
    if (is_readable(p[1])) return;
    UniqueFd socket(accept4(job.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket.valid()) {
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EMFILE && errno != ENFILE)
        return log_error("accept: {}", describe(last_errno()));
      std::this_thread::yield();  // until another connection gives descriptors back
      continue;
    }
    if (!connections_->enter(socket.borrow())) return;
    serve(job, socket.borrow(), place);
    connections_->leave(socket.borrow());
  }
}

void Service::serve_job(size_t index) {
  const Job& job = jobs_[index];
  Place place{.counters = counters_.empty() ? nullptr : &counters_[index]};
  if (!listens_) return serve(job, job.socket.borrow(), place);
  if (job.listening) {
    accept_all(job, place);
  } else if (connections_->enter(job.socket.borrow())) {
    serve(job, job.socket.borrow(), place);
    connections_->leave(job.socket.borrow());
  }
  job_ended();
}

void Service::answer_control_requests() {
  for (;;) {
    pollfd p[] = {{control_.get(), POLLIN, 0}, {connections_->stopping().get(), POLLIN, 0}};
    if (poll(p, std::size(p), -1) < 0) continue;
    // After a reload the next worker answers on the same socket.
    if (is_readable(p[1])) return;
    answer_control(control_.borrow(), counters_);
  }
}

void Service::job_ended() {
  if (--running_ != 0) return;
  const uint64_t one = 1;
  CHECK(write(ended_.get(), &one, sizeof one) == sizeof one);
}

Result<void> Service::confine_and_start() {
  if (!options_.no_jail) {
    const Accepts accepts = listens_           ? Accepts::kConnections
                            : control_.valid() ? Accepts::kControl
                                               : Accepts::kNothing;
    const auto installed = install_seccomp({.accepts = accepts, .multi_user = users_ != nullptr, .host_sockets = options_.host_sockets},
                                           options_.debug ? OnViolation::kLog : OnViolation::kKill);
    if (!installed) {
      log_error("seccomp: {}", describe(installed.assume_error()));
      _exit(1);  // the threads must not go on without it
    }
  }
  if (options_.ready_fd >= 0) {
    [[maybe_unused]] const ssize_t n = write(options_.ready_fd, "", 1);
    close(options_.ready_fd);
  }
  gate_ = true;
  gate_.notify_all();
  return ok();
}

void Service::wait_for_the_end() {
  pollfd p[] = {{drain_signals_.get(), POLLIN, 0},
                {reload_signal_.get(), POLLIN, 0},
                {ended_.get(), POLLIN, 0}};
  for (;;) {
    if (poll(p, std::size(p), -1) < 0) continue;
    if (is_readable(p[2])) return;
    if (is_readable(p[0])) break;
    if (is_readable(p[1])) {
      connections_->stop_accepting();
      p[1].fd = -1;
    }
  }
  connections_->drain();
  const std::chrono::milliseconds limit = options_.drain_timeout;
  if (poll(p + 2, 1, static_cast<int>(limit.count())) > 0) return;
  log_warn("not every connection took its last replies within {} s: ended",
           options_.drain_timeout.count());
  _exit(0);  // not over the threads' heads by destructors
}

// Threads wait at the gate until the filter covers them, so that none reads a byte before; and the
// filter waits for them, as a thread's first steps make calls that it forbids.
Result<void> Service::run() {
  const size_t first = listens_ ? 0 : 1;
  running_ = jobs_.size();
  std::latch arrived(static_cast<ptrdiff_t>(jobs_.size() - first + (control_.valid() ? 1 : 0)));
  std::jthread control;
  std::vector<std::jthread> threads;
  for (size_t i = first; i < jobs_.size(); ++i) {
    threads.emplace_back([this, i, &arrived] {
      check_directory(jobs_[i], options_);
      arrived.count_down();
      gate_.wait(false);
      serve_job(i);
    });
  }
  if (control_.valid()) {
    control = std::jthread([this, &arrived] {
      arrived.count_down();
      gate_.wait(false);
      answer_control_requests();
    });
  }
  arrived.wait();
  if (!listens_) check_directory(jobs_[0], options_);
  TRY(confine_and_start());
  if (listens_) wait_for_the_end();
  else serve_job(0);
  threads.clear();  // once each has come to its end
  if (connections_ != nullptr) connections_->stop_accepting();  // for the thread at the control socket
  return ok();
}

}  // namespace run9::gofer
