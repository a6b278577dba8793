#include "gofer/sockets.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>

#include "base/log.h"
#include "gofer/control.h"
#include "gofer/host_calls.h"

namespace run9::gofer {
namespace {

// Connections at a time at an address: threads cannot be made once the filter is there.
constexpr int kAcceptors = 8;

constexpr int kFirstOfSystemd = 3;  // SD_LISTEN_FDS_START

// A variable's value as a number, and the variable gone; -1 if it is none.
int take_number(const char* variable) {
  const char* text = getenv(variable);
  int number = -1;
  if (text != nullptr) {
    const std::string_view all(text);
    const auto [end, error] = std::from_chars(all.data(), all.data() + all.size(), number);
    if (error != std::errc{} || end != all.data() + all.size()) number = -1;
  }
  unsetenv(variable);
  return number;
}

struct SocketKind {
  int family = 0;
  bool listening = false;
};

// EPROTOTYPE for what is no stream socket.
Result<SocketKind> kind_of(BorrowedFd socket) {
  const auto ask = [&](int option) -> Result<int> {
    int value = 0;
    socklen_t size = sizeof value;
    TRY(check_call(getsockopt(socket.get(), SOL_SOCKET, option, &value, &size)));
    return value;
  };
  if (TRY(ask(SO_TYPE)) != SOCK_STREAM) return Errno{EPROTOTYPE};
  return SocketKind{.family = TRY(ask(SO_DOMAIN)), .listening = TRY(ask(SO_ACCEPTCONN)) != 0};
}

const char* advice(const p9::Address& at, Errno e) {
  using Kind = p9::Address::Kind;
  if (e == Errno{EADDRNOTAVAIL}) {
    return at.kind == Kind::kVsock ? ": write vsock:PORT, or this machine's own number"
                                   : ": give one of this machine's addresses as a number";
  }
  if (e == Errno{EAFNOSUPPORT} && at.kind == Kind::kVsock)
    return ": this kernel has no vsock (module vsock)";
  if (e != Errno{EADDRINUSE}) return "";
  return at.kind == Kind::kUnix ? ": the file is there; remove it if no other server uses it"
                                : ": another program has this port";
}

Result<UniqueFd> listen_at(const ListenSpec& spec) {
  auto fd = p9::listen_on(*spec.at);
  if (fd) return fd;
  const Errno e = fd.assume_error();
  log_error("cannot listen at {}: {}{}", quoted(spec.text), describe(e), advice(*spec.at, e));
  return e;
}

size_t export_index(const Options& options, const ListenSpec& l, size_t position, bool listening) {
  const auto& all = options.jail.exports;
  for (size_t i = 0; i < all.size(); ++i) {
    if (!l.export_name.empty() && all[i].name == l.export_name) return i;
  }
  // Who comes to an address says by aname what else it wants.
  return position < all.size() && !listening ? position : 0;
}

// The host has few inotify descriptors for each user. Without one clients ask each time.
UniqueFd events_for(const Options& options, const Job& job) {
  if (!job.local || !options.jail.exports[job.chosen].leases) return {};
  auto events = make_events();
  return events ? std::move(events.assume_value()) : UniqueFd{};
}

Result<void> add_jobs(const Options& options, const ListenSpec& spec, size_t position,
                      UniqueFd socket, std::vector<Job>& jobs) {
  const auto kind = kind_of(socket.borrow());
  if (!kind) {
    log_error("--listen {}: no stream socket ({})", quoted(spec.text),
              describe(kind.assume_error()));
    return kind.assume_error();
  }
  const auto [family, listening] = kind.assume_value();
  p9::prepare_socket(socket.borrow(), family);
  // One of several threads gets each connection; the others shall not wait for the next one in
  // accept.
  if (listening) TRY(check_call(fcntl(socket.get(), F_SETFL, O_NONBLOCK)));
  for (int n = 0; n < (listening ? kAcceptors : 1); ++n) {
    Job& job = jobs.emplace_back();
    job.socket = TRY(socket.dup());
    job.listening = listening;
    job.local = family == AF_UNIX;
    job.chosen = export_index(options, spec, position, listening);
    if (!spec.export_name.empty()) job.others = OtherExports::kRefused;
    job.lock_waits = std::make_unique<LockWaits>(TRY(LockWaits::create()));
    if (!listening) job.events = events_for(options, job);
  }
  return ok();
}

}  // namespace

SocketSource::SocketSource() {
  const int pid = take_number("LISTEN_PID"), count = take_number("LISTEN_FDS");
  const char* names = getenv("LISTEN_FDNAMES");
  std::string rest = names != nullptr ? names : "";
  unsetenv("LISTEN_FDNAMES");
  if (pid != getpid()) return;
  for (int i = 0; i < count; ++i) {
    const size_t colon = rest.find(':');
    Named& socket =
        systemd_.emplace_back(Named{rest.substr(0, colon), UniqueFd(kFirstOfSystemd + i)});
    rest = colon == rest.npos ? "" : rest.substr(colon + 1);
    if (fcntl(socket.fd.get(), F_SETFD, FD_CLOEXEC) < 0) systemd_.pop_back();  // it is not open
  }
}

Result<std::vector<UniqueFd>> SocketSource::open(const ListenSpec& spec) const {
  std::vector<UniqueFd> out;
  if (spec.at) {
    out.push_back(TRY(listen_at(spec)));
  } else if (!spec.systemd) {
    out.emplace_back(spec.fd);
  } else {
    for (const Named& s : systemd_) {
      if (spec.systemd->empty() || *spec.systemd == s.name) out.push_back(TRY(s.fd.dup()));
    }
    if (out.empty()) {
      log_error(
          "--listen {}: systemd has handed over {} sockets, none of them this one; start "
          "run9-gofer by a .socket unit{}",
          spec.text, systemd_.size(),
          spec.systemd->empty() ? "" : " with this FileDescriptorName=");
      return Errno{ENOENT};
    }
  }
  return out;
}

Result<UniqueFd> SocketSource::open_control(const ListenSpec& spec) {
  if (spec.at) return listen_for_control(spec.at->path);
  UniqueFd fd(spec.fd);
  // answer_control() waits for nobody.
  if (fd.valid()) TRY(check_call(fcntl(fd.get(), F_SETFL, O_NONBLOCK)));
  return fd;
}

Result<std::vector<Job>> make_jobs(const Options& options, const SocketSource& source) {
  std::vector<Job> jobs;
  for (size_t i = 0; i < options.listen.size(); ++i) {
    for (UniqueFd& socket : TRY(source.open(options.listen[i]))) {
      TRY(add_jobs(options, options.listen[i], i, std::move(socket), jobs));
    }
  }
  return jobs;
}

}  // namespace run9::gofer
