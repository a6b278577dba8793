#include "metrics/sources.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "base/log.h"
#include "sentry/control/message_io.h"

namespace run9::metrics {
namespace {

using Clock = std::chrono::steady_clock;
using control::Blocking;

constexpr std::chrono::seconds kPatience{2};
constexpr size_t kMostSandboxes = 1000;

// By way of a descriptor of its directory: a unix address is short, and state directories are deep.
Result<UniqueFd> connect_to(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string dir = slash == path.npos ? "." : path.substr(0, slash + 1);
  const UniqueFd at = TRY(take_fd(open(dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)));
  const std::string through =
      fmt::format("/proc/self/fd/{}/{}", at.get(), path.substr(slash == path.npos ? 0 : slash + 1));
  sockaddr_un address{.sun_family = AF_UNIX};
  if (through.size() >= sizeof address.sun_path) return Errno{ENAMETOOLONG};
  through.copy(address.sun_path, through.size());
  UniqueFd fd = TRY(take_fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
    return last_errno();
  return fd;
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(directory.c_str()), closedir);
  if (dir == nullptr) return names;  // no container was ever made
  while (const dirent* e = readdir(dir.get())) {
    if (e->d_name[0] != '.' && names.size() < kMostSandboxes) names.emplace_back(e->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// One that was asked.
struct Question {
  Answer answer;
  UniqueFd socket;
};

bool is_expected(const Answer& a) {
  return a.kind == Answer::Kind::kGofer ? a.reply.has_gofer() : a.reply.has_state();
}

// False as long as there is nothing to read.
bool take_answer(Question& q) {
  const auto got =
      control::receive_message(q.socket.borrow(), q.answer.reply, nullptr, Blocking::kNo);
  if (!got && got.assume_error() == Errno{EAGAIN}) return false;
  q.answer.up = got && got.assume_value() && is_expected(q.answer);
  q.socket.reset();
  return true;
}

void wait_for_answers(std::vector<Question>& questions) {
  const auto end = Clock::now() + kPatience;
  for (;;) {
    std::vector<pollfd> polled;
    for (Question& q : questions) {
      if (q.socket.valid() && !take_answer(q)) polled.push_back({q.socket.get(), POLLIN, 0});
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    if (polled.empty() || left <= 0) return;
    poll(polled.data(), polled.size(), static_cast<int>(left));
  }
}

void ask_gofers(const Sources& sources, std::vector<Question>& out) {
  for (const Gofer& g : sources.gofers) {
    Question& q = out.emplace_back();
    q.answer.kind = Answer::Kind::kGofer;
    q.answer.name = g.name;
    auto socket = connect_to(g.path);
    if (socket)
      q.socket = std::move(socket.assume_value());  // which says all that it has to say by itself
  }
}

// Its gofer, if it has one: by the container's name, in a directory of its own among the names of gofers.
void ask_gofer_of(const std::string& sandboxes, const std::string& name, std::vector<Question>& out) {
  auto socket = connect_to(sandboxes + "/" + name + "/gofer.sock");
  if (!socket) return;
  Question& q = out.emplace_back();
  q.answer.kind = Answer::Kind::kGofer;
  q.answer.name = "sandbox/" + name;
  q.socket = std::move(socket.assume_value());
}

void ask_sandboxes(const Sources& sources, std::vector<Question>& out) {
  if (sources.sandboxes.empty()) return;
  control::Request request;
  request.mutable_state();
  for (const std::string& name : names_in(sources.sandboxes)) {
    auto socket = connect_to(sources.sandboxes + "/" + name + "/control.sock");
    // Not yet made, gone, or nobody's any more: no container runs there.
    if (!socket && socket.assume_error() != Errno{EAGAIN} && socket.assume_error() != Errno{EACCES})
      continue;
    Question& q = out.emplace_back();
    q.answer.kind = Answer::Kind::kSandbox;
    q.answer.name = name;
    if (!socket ||
        !control::send_message(socket.assume_value().borrow(), request, {}, Blocking::kNo))
      continue;
    q.socket = std::move(socket.assume_value());
    ask_gofer_of(sources.sandboxes, name, out);
  }
}

}  // namespace

std::vector<Answer> ask_all(const Sources& sources) {
  std::vector<Question> questions;
  ask_gofers(sources, questions);
  ask_sandboxes(sources, questions);
  wait_for_answers(questions);
  std::vector<Answer> out;
  for (Question& q : questions) out.push_back(std::move(q.answer));
  return out;
}

}  // namespace run9::metrics
