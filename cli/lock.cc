// lock: takes a byte-range lock, runs a command meanwhile, and lets it go, as flock(1); or looks who has one.
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json/object.hpp>

#include "cli/commands.h"

namespace run9::cli {

using namespace p9;

namespace {

// 9P has no way to be woken: a blocked client asks again.
constexpr int kAgainMs = 100;

std::string client_id() {
  std::string host(256, '\0');
  if (gethostname(host.data(), host.size() - 1) < 0) return "p9";
  return host.c_str();
}

Result<void> test(Remote& remote, Fid open, const LockOptions& o) {
  const std::string id = client_id();
  const auto got = TRY(remote.report().step(
      "look at the locks of", o.path,
      remote.client().call(Tgetlock{.fid = open, .type = o.shared ? LockType::kRead : LockType::kWrite,
                                    .start = o.start, .length = o.length,
                                    .proc_id = static_cast<uint32_t>(getpid()), .client_id = id})));
  const bool is_free = got->type == LockType::kUnlock;
  const char* type = is_free ? "none" : got->type == LockType::kRead ? "read" : "write";
  if (remote.report().json()) {
    boost::json::object out{{"type", type}};
    if (!is_free) {
      out = {{"type", type}, {"start", got->start}, {"length", got->length}, {"proc_id", got->proc_id},
             {"client_id", json_text(got->client_id)}};
    }
    remote.report().result(out);
  } else if (is_free) {
    fmt::print("free\n");
  } else {
    fmt::print("{} lock from {} length {} by process {} of {}\n", type, got->start, got->length, got->proc_id,
               printable(got->client_id));
  }
  return ok();
}

Result<void> take(Remote& remote, Fid open, const LockOptions& o) {
  const std::string id = client_id();
  for (;;) {
    const auto got = TRY(remote.report().step(
        "lock", o.path,
        remote.client().call(Tlock{.fid = open, .type = o.shared ? LockType::kRead : LockType::kWrite,
                                   .flags = o.wait ? LockFlags::kBlock : LockFlags::kNone, .start = o.start,
                                   .length = o.length, .proc_id = static_cast<uint32_t>(getpid()),
                                   .client_id = id})));
    if (got->status == LockStatus::kSuccess) return ok();
    if (got->status == LockStatus::kError) return remote.report().fail("lock", o.path, Errno{ENOLCK});
    if (!o.wait) {
      return remote.report().fail("lock", o.path, Errno{EAGAIN},
                                  "somebody else has a lock on it: --wait waits, --test says who");
    }
    poll(nullptr, 0, kAgainMs);
  }
}

Result<int> run(Reporter& report, const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const std::string& a : command) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  pid_t pid;
  if (const int e = posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ); e != 0) {
    return report.fail("run", command[0], Errno{e});
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return last_errno();
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Result<int> cmd_lock(Remote& remote, const LockOptions& o) {
  if (!o.test && o.command.empty()) {
    return remote.report().fail("lock", o.path, Errno{EINVAL},
                                "the lock ends with the connection: give a command to run meanwhile, or --test");
  }
  const Place place = TRY(remote.walk(o.path, Follow::kYes));
  // A write lock wants a file open for writing, as fcntl(2) says.
  const OpenFlags flags = o.shared || o.test ? kORdonly : kORdwr;
  Held open = TRY(remote.report().step("open", o.path, remote.open(place.fid(), flags)));
  if (o.test) {
    TRY(test(remote, open.fid(), o));
    return 0;
  }
  TRY(take(remote, open.fid(), o));
  const int status = TRY(run(remote.report(), o.command));
  TRY(remote.report().step("unlock", o.path, open.close()));
  return status;
}

}  // namespace run9::cli
