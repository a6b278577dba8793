#include "sentry/syscalls/poll.h"

#include <poll.h>

#include <algorithm>
#include <memory>
#include <span>

#include "sentry/syscalls/sigmask.h"
#include "sentry/task/kernel.h"
#include "sentry/time/clocks.h"

namespace run9::sentry {
namespace {

using Deadline = std::optional<uint64_t>;  // 0: do not wait at all

struct Entry {
  vfs::FileRef file;  // null: skipped
  uint32_t wanted = 0;
  uint32_t found = 0;
};

struct PollWaiter final : Waiter {
  Task* task = nullptr;
  void on_notify(uint32_t) override { task->wake(); }
};

size_t look(Task& task, std::span<Entry> entries) {
  size_t n = 0;
  for (auto& e : entries) {
    if (e.file != nullptr) e.found = e.file->poll(task) & (e.wanted | POLLERR | POLLHUP);
    n += e.found != 0;
  }
  return n;
}

// How many entries have something; 0 at the deadline, kErestartsys on a signal.
Result<size_t> wait_for(Task& task, std::span<Entry> entries, Deadline deadline) {
  size_t n = look(task, entries);
  if (n > 0 || (deadline && *deadline == 0)) return n;
  const auto waiters = std::make_unique<PollWaiter[]>(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    waiters[i].task = &task;
    auto* queue = entries[i].file != nullptr ? entries[i].file->wait_queue() : nullptr;
    if (queue != nullptr) queue->add(waiters[i], entries[i].wanted);
  }
  for (;;) {
    const auto slept = task.sleep(deadline);
    n = look(task, entries);
    if (n > 0) return n;
    if (slept.has_value()) continue;
    if (slept.error() == Errno{ETIMEDOUT}) return size_t{0};
    return slept.error();
  }
}

Result<uint64_t> poll_until(Task& task, uint64_t fds, uint32_t count, Deadline deadline) {
  if (count > task.process().limit(RLIMIT_NOFILE)) return Errno{EINVAL};
  auto list = TRY(task.memory().read_array(UserPtr<pollfd>{fds}, count));
  std::vector<Entry> entries(count);
  for (size_t i = 0; i < count; ++i) {
    if (list[i].fd < 0) continue;
    auto file = task.fds().get_not_path(GuestFd{list[i].fd});
    entries[i].wanted = static_cast<uint16_t>(list[i].events);
    if (file.has_value()) {
      entries[i].file = std::move(file).value();
    } else {
      entries[i].found = POLLNVAL;
    }
  }
  const size_t n = TRY(wait_for(task, entries, deadline));
  for (size_t i = 0; i < count; ++i) list[i].revents = static_cast<short>(entries[i].found);
  if (count > 0) TRY(task.memory().copy_out(fds, list.data(), count * sizeof(pollfd)));
  return n;
}

Deadline deadline_after(std::optional<uint64_t> ns) {
  if (!ns) return {};
  return *ns == 0 ? 0 : saturating_add(EventLoop::now_ns(), *ns);
}

uint64_t time_left(Deadline deadline) {
  const uint64_t now = EventLoop::now_ns();
  return *deadline > now ? *deadline - now : 0;
}

Result<uint64_t> restartable_poll(Task& task, uint64_t fds, uint32_t count, Deadline deadline) {
  auto r = poll_until(task, fds, count, deadline);
  if (r.has_value() || r.error() != kErestartsys) return r;
  return task.restart_with([=](Task& t) { return restartable_poll(t, fds, count, deadline); });
}

// The three sets of select(2), as words.
struct Sets {
  std::vector<uint64_t> bits[3];
};
constexpr uint32_t kSelectIn = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR;
constexpr uint32_t kSelectOut = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR;
constexpr uint32_t kSelectBits[3] = {kSelectIn, kSelectOut, POLLPRI};

Result<uint64_t> select_until(Task& task, int count, const uint64_t (&addr)[3], Deadline deadline) {
  if (count < 0) return Errno{EINVAL};
  count = std::min<int>(count, static_cast<int>(task.fds().size()));
  const size_t words = (static_cast<size_t>(count) + 63) / 64;
  Sets in, out;
  for (int s = 0; s < 3; ++s) {
    in.bits[s].assign(words, 0);
    out.bits[s].assign(words, 0);
    if (addr[s] != 0 && words > 0) TRY(task.memory().copy_in(in.bits[s].data(), addr[s], words * 8));
  }
  std::vector<Entry> entries;
  std::vector<int> numbers;
  for (int fd = 0; fd < count; ++fd) {
    uint32_t wanted = 0;
    for (int s = 0; s < 3; ++s) {
      if ((in.bits[s][fd / 64] >> (fd % 64)) & 1) wanted |= kSelectBits[s];
    }
    if (wanted == 0) continue;
    entries.push_back({.file = TRY(task.fds().get_not_path(GuestFd{fd})), .wanted = wanted});
    numbers.push_back(fd);
  }
  // POLLERR and POLLHUP alone are no event for a descriptor in the third set only.
  TRY(wait_for(task, entries, deadline));
  uint64_t n = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    const int fd = numbers[i];
    const uint64_t bit = uint64_t{1} << (fd % 64);
    for (int s = 0; s < 3; ++s) {
      if ((in.bits[s][fd / 64] & bit) == 0 || (entries[i].found & kSelectBits[s]) == 0) continue;
      out.bits[s][fd / 64] |= bit;
      ++n;
    }
  }
  for (int s = 0; s < 3; ++s) {
    if (addr[s] != 0 && words > 0) {
      TRY(task.memory().copy_out(addr[s], out.bits[s].data(), words * 8));
    }
  }
  return n;
}

// select and ppoll say how much time is left, and do not restart after a handler; but a time that cannot be written is no error
// (poll_select_finish()).
template <typename Time>
Result<uint64_t> told_time_left(Task& task, Result<uint64_t> r, Deadline deadline, UserPtr<Time> at, Time (*in_units)(uint64_t ns)) {
  const bool told = !deadline || task.memory().write(at, in_units(time_left(deadline)));
  if (!r && r.error() == kErestartsys) return told ? kErestartnohand : Errno{EINTR};
  return r;
}

}  // namespace

Result<uint64_t> sys_poll(Task& task, uint64_t fds, uint32_t count, int timeout_ms) {
  std::optional<uint64_t> ns;
  if (timeout_ms >= 0) ns = static_cast<uint64_t>(timeout_ms) * 1'000'000;
  return restartable_poll(task, fds, count, deadline_after(ns));
}

Result<uint64_t> sys_ppoll(Task& task, uint64_t fds, uint32_t count, uint64_t timeout,
                           uint64_t mask, uint64_t size) {
  const Deadline deadline = deadline_after(TRY(read_timeout(task, timeout)));
  const auto set = TRY(read_sigmask(task, mask, size));
  return with_sigmask(task, set, [&]() -> Result<uint64_t> {
    return told_time_left(task, poll_until(task, fds, count, deadline), deadline, UserPtr<timespec>{timeout}, to_timespec);
  });
}

Result<uint64_t> sys_select(Task& task, int count, uint64_t in, uint64_t out, uint64_t except,
                            UserPtr<timeval> timeout) {
  Deadline deadline;
  if (!timeout.is_null()) {
    auto t = TRY(task.memory().read(timeout));
    if (t.tv_sec < 0 || t.tv_usec < 0) return Errno{EINVAL};
    t.tv_sec += t.tv_usec / 1'000'000;  // select normalizes
    t.tv_usec %= 1'000'000;
    deadline = deadline_after(TRY(to_ns(t)));
  }
  return told_time_left(task, select_until(task, count, {in, out, except}, deadline), deadline, timeout, to_timeval);
}

Result<uint64_t> sys_pselect6(Task& task, int count, uint64_t in, uint64_t out, uint64_t except,
                              uint64_t timeout, uint64_t mask_and_size) {
  struct MaskAndSize {
    uint64_t mask, size;
  } m{};
  if (mask_and_size != 0) m = TRY(task.memory().read(UserPtr<MaskAndSize>{mask_and_size}));
  const Deadline deadline = deadline_after(TRY(read_timeout(task, timeout)));
  const auto set = TRY(read_sigmask(task, m.mask, m.size));
  return with_sigmask(task, set, [&]() -> Result<uint64_t> {
    return told_time_left(task, select_until(task, count, {in, out, except}, deadline), deadline, UserPtr<timespec>{timeout}, to_timespec);
  });
}

}  // namespace run9::sentry
