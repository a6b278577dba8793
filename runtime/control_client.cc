#include "runtime/control_client.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <cstring>

#include "runtime/names.h"
#include "sentry/control/message_io.h"

namespace run9::runtime {
namespace {

using control::Blocking;

void set_timeout(const UniqueFd& socket, int timeout_ms) {
  const timeval t{.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

control::Exec to_message(const sentry::ProcessSpec& spec, std::vector<int>& descriptors) {
  control::Exec m;
  for (const auto& a : spec.args) m.add_args(a);
  for (const auto& e : spec.env) m.add_env(e);
  m.set_cwd(spec.cwd);
  m.set_uid(spec.uid);
  m.set_gid(spec.gid);
  for (const uint32_t g : spec.groups) m.add_groups(g);
  if (spec.umask) m.set_umask(*spec.umask);
  m.set_caps_bounding(spec.caps_bounding);
  m.set_caps_effective(spec.caps_effective);
  m.set_caps_permitted(spec.caps_permitted);
  m.set_caps_inheritable(spec.caps_inheritable);
  m.set_caps_ambient(spec.caps_ambient);
  m.set_no_new_privs(spec.no_new_privs);
  m.set_terminal(spec.terminal);
  m.set_rows(spec.rows);
  m.set_columns(spec.columns);
  for (const auto& [resource, value] : spec.rlimits) {
    control::Rlimit& r = *m.add_rlimits();
    r.set_resource(static_cast<uint32_t>(resource));
    r.set_soft(value.rlim_cur);
    r.set_hard(value.rlim_max);
  }
  m.set_oom_score_adj(spec.oom_score_adj);
  m.set_user(spec.user);
  for (size_t slot = 0; slot < spec.stdio.size(); ++slot) {
    if (!spec.stdio[slot].valid()) continue;
    m.add_stdio_slots(static_cast<uint32_t>(slot));
    descriptors.push_back(spec.stdio[slot].get());
  }
  for (size_t i = 0; i < spec.extra.size(); ++i) {
    if (!spec.extra[i].valid()) continue;
    m.add_stdio_slots(control::kFirstExtraSlot + static_cast<uint32_t>(i));
    descriptors.push_back(spec.extra[i].get());
  }
  return m;
}

}  // namespace

Expected<control::Reply> receive_reply(const UniqueFd& connection) {
  control::Reply reply;
  auto got = control::receive_message(connection.borrow(), reply, nullptr, Blocking::kYes);
  if (!got && got.error() == Errno{EAGAIN}) return fail("the sandbox does not answer");
  if (!got) return fail("the sandbox's answer: {}", describe(got.error()));
  if (!got.assume_value()) return fail("the sandbox has ended");
  return reply;
}

Expected<UniqueFd> send_request(const StateDir& dir, const control::Request& request) {
  UniqueFd socket = TRY(dir.connect("control.sock"));
  set_timeout(socket, 5000);
  TRY(explain(control::send_message(socket.borrow(), request, {}, Blocking::kYes), "asking the sandbox"));
  return socket;
}

Expected<control::Reply> ask(const StateDir& dir, const control::Request& request, int timeout_ms) {
  const UniqueFd socket = TRY(dir.connect("control.sock"));
  set_timeout(socket, timeout_ms);
  TRY(explain(control::send_message(socket.borrow(), request, {}, Blocking::kYes), "asking the sandbox"));
  return receive_reply(socket);
}

Expected<void> signal_guest(const StateDir& dir, int32_t pid, int signo, bool all) {
  control::Request request;
  request.mutable_signal()->set_pid(pid);
  request.mutable_signal()->set_signo(signo);
  request.mutable_signal()->set_all(all);
  const UniqueFd socket = TRY(dir.connect("control.sock"));
  set_timeout(socket, 5000);
  TRY(explain(control::send_message(socket.borrow(), request, {}, Blocking::kYes), "asking the sandbox"));
  control::Reply reply;
  const auto got = control::receive_message(socket.borrow(), reply, nullptr, Blocking::kYes);
  // The signal may have ended it before it could answer.
  if (got && !got.assume_value()) return ok();
  if (!got) return fail("signal {}: the sandbox does not answer: {}", signo, describe(got.error()));
  if (reply.has_failed()) return fail("signal {}: {}", signo, describe(Errno{reply.failed().error()}));
  return ok();
}

void resize_guest(const StateDir& dir, int32_t pid, uint16_t rows, uint16_t columns) {
  control::Request request;
  request.mutable_resize()->set_pid(pid);
  request.mutable_resize()->set_rows(rows);
  request.mutable_resize()->set_columns(columns);
  if (auto r = ask(dir, request, 1000); !r) log_debug("resize: {}", r.error().text);
}

Expected<RunningExec> start_exec(const StateDir& dir, const sentry::ProcessSpec& spec) {
  RunningExec out{.connection = TRY(dir.connect("control.sock"))};
  // Arguments and environment may be long; the buffer has to take the whole message at once.
  const int wanted = static_cast<int>(control::kMaxMessage);
  if (setsockopt(out.connection.get(), SOL_SOCKET, SO_SNDBUFFORCE, &wanted, sizeof wanted) != 0) {
    setsockopt(out.connection.get(), SOL_SOCKET, SO_SNDBUF, &wanted, sizeof wanted);
  }
  control::Request request;
  std::vector<int> descriptors;
  *request.mutable_exec() = to_message(spec, descriptors);
  TRY(explain(control::send_message(out.connection.borrow(), request, descriptors, Blocking::kYes),
              "sending the program to the sandbox"));
  const control::Reply reply = TRY(receive_reply(out.connection));
  if (reply.has_failed()) {
    const Errno error{reply.failed().error()};
    const std::string& why = reply.failed().what();
    // The Sentry's own words: of no more trust than what a guest prints.
    return why.empty() ? fail("exec {}: {}", quoted(spec.args[0]), describe(error)) : fail("exec: {}", printable(why));
  }
  if (!reply.has_started()) return fail("exec: the sandbox answered something else");
  out.pid = reply.started().pid();
  return out;
}

std::optional<int> exec_status(BorrowedFd connection) {
  control::Reply reply;
  auto got = control::receive_message(connection, reply, nullptr, Blocking::kYes);
  if (!got || !got.assume_value() || !reply.has_exited()) return {};
  return reply.exited().status();
}

}  // namespace run9::runtime
