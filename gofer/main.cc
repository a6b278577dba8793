// run9-gofer: serves host directories over 9P2000.L to the sockets it was given. README.md.
#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <latch>
#include <thread>

#include "base/log.h"
#include "base/sanitizer.h"
#include "gofer/jail.h"
#include "gofer/options.h"
#include "gofer/seccomp.h"
#include "gofer/serve.h"

namespace run9::gofer {
namespace {

// Connections at a time at an address: threads cannot be made once the filter is there.
constexpr int kAcceptors = 8;

// One thread's work: a connection that exists, or one after another from a listening socket.
struct Job {
  UniqueFd socket;
  UniqueFd events;  // for leases; none where connections come and go
  bool listening = false;
  bool local = true;  // descriptors can be passed
  size_t chosen = 0;
  OtherExports others = OtherExports::kByName;
};

class Gofer {
 public:
  Gofer(const Options& options, Exports exports)
      : options_(options), exports_(std::move(exports)) {}

  void run(const Job& job) {
    if (!job.listening) return serve(job, job.socket.borrow());
    for (;;) {
      UniqueFd socket(accept4(job.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (socket.valid()) {
        serve(job, socket.borrow());
      } else if (errno != EINTR && errno != ECONNABORTED && errno != EMFILE && errno != ENFILE) {
        return log_error("accept: {}", describe(last_errno()));
      }
    }
  }
  const Exports& exports() const { return exports_; }

 private:
  void serve(const Job& job, BorrowedFd socket) {
    HostServer server(exports_, job.chosen, job.others, ++connections_, job.events.borrow());
    if (!job.local) server.never_donate();
    const auto done =
        serve_connection(socket, server, {.session = {}, .busy_poll = options_.busy_poll},
                         options_.log_9p ? Log9p::kYes : Log9p::kNo);
    if (!done) log_warn("connection ended: {}", describe(done.assume_error()));
  }

  const Options& options_;
  const Exports exports_;
  std::atomic<uint64_t> connections_ = 0;
};

// Says what to do about it: this is what people get wrong first.
Result<UniqueFd> listen_at(const p9::Address& at) {
  auto fd = p9::listen_on(at);
  if (fd) return fd;
  const Errno e = fd.assume_error();
  const bool tcp = at.kind == p9::Address::Kind::kTcp;
  log_error("cannot listen at {}: {}{}", tcp ? fmt::format("{} port {}", quoted(at.host), at.port) : quoted(at.path), describe(e),
            e == Errno{EADDRNOTAVAIL} ? ": give one of this machine's addresses as a number"
            : e != Errno{EADDRINUSE}  ? ""
            : tcp                     ? ": another program has this port"
                                      : ": the file is there; remove it if no other server uses it");
  return e;
}

size_t export_index(const Options& options, const ListenSpec& l, size_t position) {
  const auto& all = options.jail.exports;
  for (size_t i = 0; i < all.size(); ++i) {
    if (!l.export_name.empty() && all[i].name == l.export_name) return i;
  }
  // Who comes to an address says by aname what else it wants.
  return position < all.size() && !l.at ? position : 0;
}

Result<std::vector<Job>> make_jobs(const Options& options) {
  std::vector<Job> jobs;
  for (size_t i = 0; i < options.listen.size(); ++i) {
    const ListenSpec& l = options.listen[i];
    Job job;
    job.chosen = export_index(options, l, i);
    if (!l.export_name.empty()) job.others = OtherExports::kRefused;
    if (!l.at) {
      job.socket = UniqueFd(l.fd);
      // The host has few for each user. Without one clients ask each time.
      if (!options.jail.exports[job.chosen].leases) {
        jobs.push_back(std::move(job));
        continue;
      }
      if (auto events = make_events()) job.events = std::move(events.assume_value());
      jobs.push_back(std::move(job));
      continue;
    }
    const UniqueFd listener = TRY(listen_at(*l.at));
    for (int n = 0; n < kAcceptors; ++n) {
      Job& j = jobs.emplace_back();
      j.socket = TRY(listener.dup());
      j.listening = true;
      j.local = l.at->kind == p9::Address::Kind::kUnix;
      j.chosen = job.chosen;
    }
  }
  return jobs;
}

// For its leases the thread goes from directory to directory, and none may pull it away.
void check_directory(const Job& job) {
  if (!job.events.valid()) return;
  if (const auto own = own_working_directory(); !own) {
    log_error("unshare(CLONE_FS): {}", describe(own.error()));
    _exit(1);
  }
}

// Threads wait at the gate until the filter covers them, so that none reads a byte before; and the
// filter waits for them, as a thread's first steps make calls that it forbids.
Result<void> serve_all(Gofer& gofer, const Options& options, const std::vector<Job>& jobs) {
  std::atomic<bool> gate = false;
  std::latch arrived(static_cast<ptrdiff_t>(jobs.size() - 1));
  std::vector<std::jthread> threads;
  bool listens = false;
  for (const Job& job : jobs) {
    listens |= job.listening;
    if (&job == &jobs[0]) continue;
    threads.emplace_back([&] {
      check_directory(job);
      arrived.count_down();
      gate.wait(false);
      gofer.run(job);
    });
  }
  arrived.wait();
  check_directory(jobs[0]);
  if (!options.no_jail) {
    const auto installed =
        install_seccomp(listens ? SeccompMode::kListener : SeccompMode::kInherited,
                        options.debug ? OnViolation::kLog : OnViolation::kKill);
    if (!installed) {
      log_error("seccomp: {}", describe(installed.assume_error()));
      _exit(1);  // the threads must not go on without it
    }
  }
  if (options.ready_fd >= 0) {
    [[maybe_unused]] const ssize_t n = write(options.ready_fd, "", 1);
    close(options.ready_fd);
  }
  gate = true;
  gate.notify_all();
  gofer.run(jobs[0]);
  return ok();
}

Result<void> run(const Options& options) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  umask(0);
  const std::vector<Job> jobs = TRY(make_jobs(options));  // socket paths are the host's
  if (!options.no_jail) sanitizer::before_jail();
  Exports exports =
      TRY(options.no_jail ? open_exports(options.jail) : enter_jail(options.jail));
  std::vector<int> keep{options.log_fd};
  if (options.ready_fd >= 0) keep.push_back(options.ready_fd);
  for (const Job& job : jobs) {
    keep.push_back(job.socket.get());
    if (job.events.valid()) keep.push_back(job.events.get());
  }
  if (!options.no_jail) TRY(drop_privileges(keep, exports));
  Gofer gofer(options, std::move(exports));
  return serve_all(gofer, options, jobs);
}

}  // namespace
}  // namespace run9::gofer

int main(int argc, char** argv) {
  using namespace run9;
  // One arena: glibc shrinks any other after a look at /proc/sys/vm/overcommit_memory, and the filter kills for an open.
  mallopt(M_ARENA_MAX, 1);
  std::string error;
  auto options = gofer::parse_options({argv + 1, argv + argc}, error);
  if (!options) {
    log_error("run9-gofer: {}", error);
    return 2;
  }
  // Polling on the only CPU would keep the client from asking.
  if (std::thread::hardware_concurrency() < 2) options->busy_poll = std::chrono::microseconds(0);
  set_log(options->log_fd, options->debug ? LogLevel::kDebug : LogLevel::kWarn, "run9-gofer");
  const auto done = gofer::run(*options);
  if (!done) log_error("{}", describe(done.assume_error()));
  return done ? 0 : 1;
}
