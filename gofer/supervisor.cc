#include "gofer/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <set>

#include "base/log.h"
#include "gofer/text_file.h"

namespace run9::gofer {
namespace {

constexpr int kStartTimeoutMs = 30'000;
// Beyond its own limit a worker that was told to drain is killed.
constexpr std::chrono::seconds kGrace{5};

constexpr std::string_view kSpace = " \t\r";

std::string_view trim(std::string_view text) {
  const size_t from = text.find_first_not_of(kSpace);
  if (from == text.npos) return {};
  return text.substr(from, text.find_last_not_of(kSpace) - from + 1);
}

Result<std::vector<std::string>> read_config(const std::string& path) {
  const auto text = read_text_file(path);
  if (!text) {
    log_error("{}: {}", quoted(path), describe(text.assume_error()));
    return text.assume_error();
  }
  std::string error;
  auto args = parse_config(text.assume_value(), error);
  if (args && !parse_options(args.assume_value(), error)) args = Errno{EINVAL};
  if (!args) log_error("{}: {}", quoted(path), error);
  return args;
}

Result<std::string> own_program() {
  char path[4096];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  if (n < 0) return last_errno();
  return std::string(path, static_cast<size_t>(n));
}

class Supervisor {
 public:
  Supervisor(const Options& own, const SocketSource& source, std::string program, sigset_t normal)
      : own_(own), source_(source), program_(std::move(program)), normal_(normal) {}
  ~Supervisor() {
    for (const auto& [text, sockets] : sockets_) remove_file(text);
  }

  // A worker by the file's options. On an error everything is as before.
  Result<void> load();
  Result<void> run(const sigset_t& awaited);

 private:
  using Sockets = std::map<std::string, std::vector<UniqueFd>>;  // by --listen's text

  Result<Sockets> open_sockets(const Options& options) const;
  std::vector<std::string> worker_args(const std::vector<std::string>& config,
                                       const Options& options, const Sockets& fresh) const;
  Result<pid_t> start(std::vector<std::string> args, const Sockets& fresh) const;
  const std::vector<UniqueFd>& sockets_of(const ListenSpec& l, const Sockets& fresh) const {
    const auto at = fresh.find(l.text);
    return at != fresh.end() ? at->second : sockets_.at(l.text);
  }
  static void remove_file(const std::string& listen_text);
  // True when the worker that should serve is gone.
  bool reap();
  void end_workers();

  const Options& own_;
  const SocketSource& source_;
  const std::string program_;
  const sigset_t normal_;  // what workers start with
  Sockets sockets_;
  std::chrono::seconds drain_timeout_{};
  pid_t current_ = 0;
  std::set<pid_t> retired_;  // they serve the connections that they have
};

Result<Supervisor::Sockets> Supervisor::open_sockets(const Options& options) const {
  Sockets fresh;
  for (const ListenSpec& l : options.listen) {
    if (!sockets_.contains(l.text) && !fresh.contains(l.text)) fresh[l.text] = TRY(source_.open(l));
  }
  const ListenSpec& c = options.control;
  if (options.has_control() && !sockets_.contains(c.text)) {
    fresh[c.text].push_back(TRY(SocketSource::open_control(c)));
  }
  return fresh;
}

std::vector<std::string> Supervisor::worker_args(const std::vector<std::string>& config,
                                                 const Options& options,
                                                 const Sockets& fresh) const {
  std::vector<std::string> args{program_};
  for (size_t i = 0; i < config.size(); ++i) {
    if (config[i] == "--listen" || config[i] == "--control")
      ++i;
    else
      args.push_back(config[i]);
  }
  for (const ListenSpec& l : options.listen) {
    for (const UniqueFd& socket : sockets_of(l, fresh)) {
      args.insert(args.end(),
                  {"--listen", fmt::format("fd:{}{}{}", socket.get(),
                                           l.export_name.empty() ? "" : "=", l.export_name)});
    }
  }
  if (options.has_control()) {
    args.insert(args.end(),
                {"--control", fmt::format("fd:{}", sockets_of(options.control, fresh)[0].get())});
  }
  args.insert(args.end(), {"--log-fd", std::to_string(own_.log_fd)});
  if (own_.debug) args.push_back("--debug");
  return args;
}

Result<pid_t> Supervisor::start(std::vector<std::string> args, const Sockets& fresh) const {
  int ready[2];
  TRY(check_call(pipe2(ready, O_CLOEXEC)));
  const UniqueFd hear(ready[0]);
  UniqueFd say(ready[1]);
  args.insert(args.end(), {"--ready-fd", std::to_string(say.get())});
  std::vector<char*> argv;
  for (std::string& a : args) argv.push_back(a.data());
  argv.push_back(nullptr);
  const pid_t pid = fork();
  TRY(check_call(pid));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    fcntl(say.get(), F_SETFD, 0);
    for (const Sockets* some : {&sockets_, &fresh}) {
      for (const auto& [text, sockets] : *some) {
        for (const UniqueFd& s : sockets) fcntl(s.get(), F_SETFD, 0);
      }
    }
    sigprocmask(SIG_SETMASK, &normal_, nullptr);
    execv(argv[0], argv.data());
    log_error("{}: {}", quoted(argv[0]), describe(last_errno()));
    _exit(127);
  }
  say.reset();
  pollfd p{hear.get(), POLLIN, 0};
  char byte;
  if (poll(&p, 1, kStartTimeoutMs) == 1 && read(hear.get(), &byte, 1) == 1) return pid;
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  log_error("no worker starts with {}: what it says is above", quoted(own_.config));
  return Errno{ECHILD};
}

Result<void> Supervisor::load() {
  const std::vector<std::string> config = TRY(read_config(own_.config));
  std::string error;
  const Options options = *parse_options(config, error);
  Sockets fresh = TRY(open_sockets(options));
  const auto worker = start(worker_args(config, options, fresh), fresh);
  if (!worker) {
    for (const auto& [text, sockets] : fresh) remove_file(text);
    return worker.assume_error();
  }
  if (current_ != 0) {
    kill(current_, SIGHUP);
    retired_.insert(current_);
  }
  current_ = worker.assume_value();
  drain_timeout_ = options.drain_timeout;
  sockets_.merge(fresh);
  std::erase_if(sockets_, [&](const auto& s) {
    if (options.has_control() && options.control.text == s.first) return false;
    for (const ListenSpec& l : options.listen) {
      if (l.text == s.first) return false;
    }
    remove_file(s.first);
    return true;
  });
  return ok();
}

void Supervisor::remove_file(const std::string& listen_text) {
  const auto at = p9::parse_listen_address(listen_text);
  if (at && at->kind == p9::Address::Kind::kUnix && !at->path.starts_with('@'))
    unlink(at->path.c_str());
}

bool Supervisor::reap() {
  bool gone = false;
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (retired_.erase(pid) == 0 && pid == current_) {
      gone = true;
      current_ = 0;
    }
  }
  if (gone) log_error("the worker has ended (wait status {:#x})", status);
  return gone;
}

void Supervisor::end_workers() {
  std::set<pid_t> all = retired_;
  if (current_ != 0) all.insert(current_);
  for (const pid_t pid : all) kill(pid, SIGTERM);
  const auto end = std::chrono::steady_clock::now() + drain_timeout_ + kGrace;
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  while (!all.empty()) {
    for (pid_t pid; (pid = waitpid(-1, nullptr, WNOHANG)) > 0;) all.erase(pid);
    const auto left = end - std::chrono::steady_clock::now();
    if (all.empty() || left.count() <= 0) break;
    const timespec wait{std::chrono::ceil<std::chrono::seconds>(left).count(), 0};
    sigtimedwait(&child, nullptr, &wait);
  }
  for (const pid_t pid : all) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
}

Result<void> Supervisor::run(const sigset_t& awaited) {
  TRY(load());
  if (own_.ready_fd >= 0) {
    [[maybe_unused]] const ssize_t n = write(own_.ready_fd, "", 1);
    close(own_.ready_fd);
  }
  for (;;) {
    const int signo = sigwaitinfo(&awaited, nullptr);
    if (signo == SIGHUP && !load()) log_error("the configuration is as it was before");
    if (signo == SIGCHLD && reap()) {
      end_workers();
      return Errno{ECHILD};
    }
    if (signo == SIGTERM || signo == SIGINT) {
      end_workers();
      return ok();
    }
  }
}

}  // namespace

Result<std::vector<std::string>> parse_config(std::string_view text, std::string& error) {
  std::vector<std::string> args;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const std::string_view line = trim(text.substr(0, end));
    text = end == text.npos ? std::string_view{} : text.substr(end + 1);
    if (line.empty() || line.starts_with('#')) continue;
    const size_t space = line.find_first_of(kSpace);
    const std::string_view word = line.substr(0, space);
    if (word == "config" || word == "log-fd" || word == "ready-fd" || word == "no-jail" ||
        word.starts_with('-')) {
      error = fmt::format(
          "line {}: {} is for the command line; write options without dashes: export DIR:NAME",
          number, quoted(word));
      return Errno{EINVAL};
    }
    args.push_back("--" + std::string(word));
    if (space != line.npos) args.emplace_back(trim(line.substr(space)));
  }
  return args;
}

Result<void> supervise(const Options& own, const SocketSource& source) {
  sigset_t awaited, normal;
  sigemptyset(&awaited);
  for (const int s : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&awaited, s);
  TRY(check_call(sigprocmask(SIG_BLOCK, &awaited, &normal)));
  return Supervisor(own, source, TRY(own_program()), normal).run(awaited);
}

}  // namespace run9::gofer
