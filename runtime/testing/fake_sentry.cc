// A sentry_main without a kernel: it speaks boot.h's protocol and serves the control socket, and its
// "programs" are the few words below. With it, the runtime's own work is tested by itself.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/log.h"
#include "sentry/boot.h"
#include "sentry/control/control_server.h"

namespace run9::sentry {
namespace {

void say(const UniqueFd& out, const std::string& text) { (void)!write(out.get(), text.data(), text.size()); }

// What a test looks at: who and where we are on the host.
std::string describe_self() {
  std::string open_files;
  for (int fd = 0; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) open_files += fmt::format(" {}", fd);
  }
  int caps = 0;
  for (int n = 0; n <= 40; ++n) caps += prctl(PR_CAPBSET_READ, n, 0, 0, 0);
  rlimit core{};
  getrlimit(RLIMIT_CORE, &core);
  return fmt::format("pid={} uid={} gid={} caps={} nnp={} dumpable={} core={} etc={} proc={} write={} fds={}\n",
                     getpid(), getuid(), getgid(), caps, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
                     prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), core.rlim_cur, access("/etc", F_OK) == 0,
                     access("/proc", F_OK) == 0, open("/x", O_CREAT | O_WRONLY, 0600) >= 0, open_files);
}

class FakeGuest {
 public:
  explicit FakeGuest(BootSpec spec) : spec_(std::move(spec)) {}

  [[noreturn]] void run() {
    if (spec_.init.args[0] == "missing") {
      send(spec_.sync.get(), "Emissing: ENOENT", 16, 0);
      _exit(1);
    }
    if (spec_.init.args[0] == "crash") abort();
    send(spec_.sync.get(), "R", 1, 0);
    char go = 0;
    if (recv(spec_.sync.get(), &go, 1, 0) != 1) _exit(99);
    loop_ = std::move(EventLoop::create().assume_value());
    loop_->spin_limit_ns = 0;
    ControlServer server(*loop_, std::move(spec_.control), hooks());
    if (!server.start()) _exit(98);
    loop_->spawn([this] { program(spec_.init, [](int status) { _exit(status & 0x7f ? 128 + (status & 0x7f) : status >> 8); }); });
    loop_->run();
    _exit(97);
  }

 private:
  // "exit N", "echo TEXT", "cat", "sleep", "report", "terminal".
  void program(ProcessSpec& p, OnExit on_exit) {
    const std::string& word = p.args[0];
    const std::string arg = p.args.size() > 1 ? p.args[1] : "";
    if (word == "exit") return on_exit(std::atoi(arg.c_str()) << 8);
    if (word == "report") say(p.stdio[1], describe_self());
    if (word == "echo") say(p.stdio[1], arg + "\n");
    if (word == "terminal") say(p.stdio[0], fmt::format("terminal {}x{}\r\n", p.rows, p.columns));
    if (word == "sleep") return;
    if (word == "cat") {
      char buffer[4096];
      for (ssize_t n; (n = read(p.stdio[0].get(), buffer, sizeof buffer)) > 0;) {
        (void)!write(p.stdio[1].get(), buffer, static_cast<size_t>(n));
      }
    }
    on_exit(0);
  }

  ControlHooks hooks() {
    ControlHooks h;
    h.spawn = [this](ProcessSpec p, OnExit on_exit) -> Result<int32_t> {
      if (p.args[0] == "missing") return Errno{ENOENT};
      const int32_t pid = next_pid_++;
      execs_[pid] = on_exit;
      program(p, on_exit);
      return pid;
    };
    h.signal = [this](int32_t pid, int signo, bool) -> Result<void> {
      if (signo == 0) return ok();
      if (pid <= 1) _exit(128 + signo);
      if (!execs_.contains(pid)) return Errno{ESRCH};
      execs_[pid](signo);
      return ok();
    };
    h.resize = [](int32_t, uint16_t, uint16_t) -> Result<void> { return ok(); };
    h.processes = [](control::Processes& out) {
      control::ProcessInfo& p = *out.add_processes();
      p.set_pid(1);
      p.set_command("fake\033[2J");
      p.set_state("S");
    };
    h.state = [](control::SandboxState& s) { s.set_processes(1); };
    return h;
  }

  BootSpec spec_;
  std::unique_ptr<EventLoop> loop_;
  std::map<int32_t, OnExit> execs_;
  int32_t next_pid_ = 2;
};

}  // namespace

void sentry_main(BootSpec spec) { FakeGuest(std::move(spec)).run(); }

}  // namespace run9::sentry
