#include "sentry/fs/devpts/console.h"

#include <sys/epoll.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/host_poll.h"
#include "base/log.h"
#include "sentry/fs/anon.h"
#include "sentry/fs/devpts/devpts_fs.h"
#include "sentry/fs/devpts/tty_file.h"
#include "sentry/sched/event_loop.h"
#include "sentry/task/kernel.h"

namespace run9::sentry {
namespace {

// A terminal that says it is writable may have room for little.
constexpr size_t kChunk = 256;
// How long the last output of a program may take to leave.
constexpr int kDrainMs = 500;

// Carries bytes between the host's descriptor and the terminal. The host's flags are its own (never
// O_NONBLOCK), so poll(2) comes before every read and write. Owned by the terminal.
class ConsoleLink final : public TtyPeer, public FdHandler {
 public:
  // fs: where the terminal's node is, or null.
  ConsoleLink(Kernel& kernel, UniqueFd fd, Tty& tty, std::shared_ptr<DevptsFs> fs)
      : kernel_(kernel), fd_(std::move(fd)), tty_(&tty), fs_(std::move(fs)) {
    arm();
  }
  ~ConsoleLink() override { unwatch(); }
  void tty_ends() override {
    tty_ended_ = true;
    drain();
    unwatch();
    ended_ = true;
    if (fs_ != nullptr) fs_->remove(tty_->index());
  }

  void output_ready() override {
    write_some();
    arm();
  }
  void input_room() override {
    feed();
    arm();
  }

  void on_ready(uint32_t) override {
    const auto keep = tty_->shared_from_this();  // and us
    const short now = ready(POLLIN | POLLOUT);
    // With a hang-up there is nothing to wait for, and its readiness would never end.
    if ((now & POLLIN) != 0 && (has_room() || (now & POLLHUP) == 0)) {
      read_some();
    } else if ((now & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
      end();
    }
    write_some();
    arm();
  }

 private:
  short ready(short wanted) const { return host_poll(fd_.get(), wanted); }

  bool has_room() const { return typed_.empty() && tty_->has_room(); }

  void feed() {
    // What is typed may make room itself (^C flushes).
    if (feeding_) return;
    feeding_ = true;
    const size_t n = tty_->input({reinterpret_cast<const std::byte*>(typed_.data()), typed_.size()});
    typed_.erase(0, n);
    feeding_ = false;
  }

  void read_some() {
    if (ended_ || !has_room()) return;
    char chunk[kChunk];
    const ssize_t n = ::read(fd_.get(), chunk, sizeof chunk);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (n <= 0) return end();
    typed_.assign(chunk, static_cast<size_t>(n));
    feed();
  }

  void write_some() {
    if (ended_) return tty_->consume_output(tty_->output_size());
    while (!tty_->output().empty()) {  // it is, too, while ^S holds it back
      if ((ready(POLLOUT) & (POLLOUT | POLLERR | POLLHUP)) == 0) return;
      const auto text = tty_->output().substr(0, kChunk);
      const ssize_t n = ::write(fd_.get(), text.data(), text.size());
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
      if (n < 0) return end();
      tty_->consume_output(static_cast<size_t>(n));
    }
  }

  void drain() {
    while (!ended_ && !tty_->output().empty()) {
      if (host_poll(fd_.get(), POLLOUT, kDrainMs) == 0) return;
      write_some();
    }
  }

  // The host's user has gone.
  void end() {
    if (ended_) return;
    ended_ = true;
    unwatch();
    tty_->consume_output(tty_->output_size());
    if (!tty_ended_) tty_->master_closed();
  }

  void arm() {
    if (ended_) return;
    const uint32_t wanted = (has_room() ? uint32_t{EPOLLIN} : 0u) |
                            (tty_->output().empty() ? 0u : uint32_t{EPOLLOUT});
    if (wanted == watched_) return;
    if (wanted == 0) return unwatch();
    auto done = watched_ == 0 ? kernel_.loop().watch(fd_.borrow(), wanted, *this)
                              : kernel_.loop().rewatch(fd_.borrow(), wanted, *this);
    if (!done.has_value()) {
      log_warn("the console's descriptor cannot be watched: {}", describe(done.error()));
      return;
    }
    watched_ = wanted;
  }

  void unwatch() {
    if (watched_ != 0) kernel_.loop().unwatch(fd_.borrow());
    watched_ = 0;
  }

  Kernel& kernel_;
  UniqueFd fd_;
  Tty* tty_;  // owns us
  std::shared_ptr<DevptsFs> fs_;
  std::string typed_;  // read from the host, the terminal had no room for it
  bool feeding_ = false;
  uint32_t watched_ = 0;  // epoll bits; 0: not in the event loop
  bool ended_ = false;      // the host's end
  bool tty_ended_ = false;
};

// The console's place where no devpts is mounted. Opening it again (/proc/self/fd/0) gives the same
// terminal.
class ConsoleInode final : public AnonInode {
 public:
  ConsoleInode(Kernel& kernel, std::weak_ptr<Tty> tty, uint32_t uid)
      : AnonInode(anon_fs(kernel), kernel.next_anon_inode(), S_IFCHR | 0620, kernel.context()),
        tty_(std::move(tty)) {
    attributes().rdev = makedev(5, 1);
    attributes().uid = uid;
  }
  Result<vfs::FileRef> open(vfs::OpContext& ctx, const vfs::Path& self, uint32_t flags) override {
    auto tty = tty_.lock();
    if (tty == nullptr) return Errno{EIO};
    return SlaveFile::open(ctx, std::move(tty), self, flags);
  }

 private:
  std::weak_ptr<Tty> tty_;
};

winsize window_of(uint16_t rows, uint16_t columns) {
  winsize w{};
  w.ws_row = rows;
  w.ws_col = columns;
  return w;
}

}  // namespace

Result<Console> make_console(Kernel& kernel, std::vector<UniqueFd> stdio, uint16_t rows,
                             uint16_t columns, uint32_t uid) {
  if (stdio.empty() || !stdio.front().valid()) return Errno{EBADF};
  Console console;
  vfs::Path path;
  vfs::MountRef mount;
  const auto fs = find_devpts(kernel, &mount);
  if (fs != nullptr) {
    console.tty = TRY(fs->add(kernel.context(), uid));
    const std::string name = std::to_string(console.tty->index());
    path = {mount, mount->root->add_child(name, fs->node(console.tty->index()))};
  } else {
    console.tty = std::make_shared<Tty>(kernel, -1);
    path = make_anon_path(kernel, "/dev/console",
                          std::make_shared<ConsoleInode>(kernel, console.tty, uid));
  }
  console.tty->own_peer(
      std::make_shared<ConsoleLink>(kernel, std::move(stdio.front()), *console.tty, fs));
  console.tty->set_window(window_of(rows, columns));
  console.file = std::make_shared<SlaveFile>(std::move(path), O_RDWR, console.tty);
  return console;
}

Result<void> resize_console(Kernel& kernel, int32_t pid, uint16_t rows, uint16_t columns) {
  const auto p = kernel.find_process(pid);
  if (p == nullptr) return Errno{ESRCH};
  if (!p->group || !p->group->session || !p->group->session->tty) return Errno{ENOTTY};
  p->group->session->tty->set_window(window_of(rows, columns));
  return ok();
}

}  // namespace run9::sentry
