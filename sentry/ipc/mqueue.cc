#include "sentry/ipc/mqueue.h"

#include <fmt/format.h>
#include <poll.h>

#include <cstring>

#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

// A message came to a queue that was empty, and nobody waited for it: told once.
void tell(Kernel& kernel, PosixQueue& q, const vfs::OpContext& sender) {
  const auto asked = std::exchange(q.notify, {});
  const auto process = kernel.find_process(asked.pid);
  if (process == nullptr || asked.signo == 0) return;
  SigInfo info = SigInfo::user(asked.signo, SI_MESGQ, sender.tgid(), sender.creds().ruid);
  info.rt.value = asked.value;
  (void)kernel.send_signal(*process, info);
}

}  // namespace

MqueueFile::MqueueFile(vfs::Path path, uint32_t flags, PosixQueueRef queue)
    : File(std::move(path), flags), queue_(std::move(queue)) {}

Result<size_t> MqueueFile::read(vfs::OpContext&, std::span<std::byte> dst) {
  const auto& n = queue_->notify;
  const std::string text = fmt::format("QSIZE:{:<10} NOTIFY:{:<5} SIGNO:{:<5} NOTIFY_PID:{:<6}\n", queue_->bytes,
                                       n.pid != 0 && n.signo == 0 ? 1 : 0, n.signo, n.pid);
  const uint64_t at = std::min<uint64_t>(position(), text.size());
  const size_t count = std::min<size_t>(dst.size(), text.size() - at);
  std::memcpy(dst.data(), text.data() + at, count);
  set_position(at + count);
  return count;
}

Result<uint64_t> MqueueFile::seek(vfs::OpContext&, int64_t offset, int whence) {
  if (whence != SEEK_SET || offset < 0) return Errno{EINVAL};
  set_position(static_cast<uint64_t>(offset));
  return position();
}

uint32_t MqueueFile::poll(vfs::OpContext&) {
  const bool room = queue_->messages.size() < static_cast<size_t>(queue_->max_messages);
  return (queue_->messages.empty() ? 0 : POLLIN | POLLRDNORM) | (room ? POLLOUT | POLLWRNORM : 0);
}

// mqueue_flush_file(): a close by who asked to be told withdraws that.
void MqueueFile::on_close(vfs::OpContext& ctx) {
  if (queue_->notify.pid == ctx.tgid()) queue_->notify = {};
}

Result<void> MqueueFile::send(vfs::OpContext& ctx, Kernel& kernel, std::string text, uint32_t priority,
                              std::optional<uint64_t> deadline) {
  const auto keep = shared_from_this();
  PosixQueue& q = *queue_;
  if (text.size() > static_cast<size_t>(q.max_size)) return Errno{EMSGSIZE};
  while (q.messages.size() >= static_cast<size_t>(q.max_messages)) {
    if (nonblocking()) return Errno{EAGAIN};
    TRY(ctx.wait(q.queue, POLLOUT, deadline));
  }
  const bool was_empty = q.messages.empty();
  q.bytes += text.size();
  q.messages.emplace(priority, std::move(text));
  if (was_empty && q.receivers == 0) tell(kernel, q, ctx);
  q.queue.notify(POLLIN | POLLRDNORM);
  return ok();
}

Result<MqueueFile::Message> MqueueFile::receive(vfs::OpContext& ctx, size_t room, std::optional<uint64_t> deadline) {
  const auto keep = shared_from_this();
  PosixQueue& q = *queue_;
  if (room < static_cast<size_t>(q.max_size)) return Errno{EMSGSIZE};
  while (q.messages.empty()) {
    if (nonblocking()) return Errno{EAGAIN};
    ++q.receivers;
    const auto waited = ctx.wait(q.queue, POLLIN, deadline);
    --q.receivers;
    TRY(waited);
  }
  const auto first = q.messages.begin();
  Message m{std::move(first->second), first->first};
  q.messages.erase(first);
  q.bytes -= m.text.size();
  q.queue.notify(POLLOUT | POLLWRNORM);
  return m;
}

}  // namespace run9::sentry
