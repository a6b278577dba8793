// proc, sysfs, devpts and the devices, on a real Kernel over a tmpfs. The "guest" is this process: an
// address space that reads and writes our own memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#include "sentry/fs/dev/devices.h"
#include "sentry/fs/devpts/console.h"
#include "sentry/fs/fs_types.h"
#include "sentry/fs/special.h"
#include "sentry/task/kernel.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::sentry {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class OwnMemory final : public AddressSpace {
 public:
  Result<void> map(Context*, const MapRequest&) override { return Errno{ENOSYS}; }
  Result<void> unmap(Context*, uint64_t, uint64_t) override { return Errno{ENOSYS}; }
  Result<void> protect(Context*, uint64_t, uint64_t, int) override { return Errno{ENOSYS}; }
  Result<void> remap(Context*, uint64_t, uint64_t, uint64_t, uint64_t) override { return Errno{ENOSYS}; }
  Result<void> advise(Context*, uint64_t, uint64_t, int) override { return Errno{ENOSYS}; }
  Result<void> map_all(Context*, std::span<const MapRequest>) override { return Errno{ENOSYS}; }
  Result<size_t> read(uint64_t addr, std::span<std::byte> dst) override {
    return copy(process_vm_readv, dst.data(), addr, dst.size());
  }
  Result<size_t> write(uint64_t addr, ByteSpan src) override {
    return copy(process_vm_writev, const_cast<std::byte*>(src.data()), addr, src.size());
  }
  Result<Child> fork(Context&, const Regs&) override { return Errno{ENOSYS}; }
  Result<std::unique_ptr<Context>> clone_thread(Context&, const Regs&, bool) override { return Errno{ENOSYS}; }
  void kill() override {}
  Result<std::unique_ptr<Context>> first_thread(const Regs&) override { return Errno{ENOSYS}; }
  uint64_t cpu_time_ns() const override { return 1'500'000'000; }
  int host_pid() const override { return 0; }

 private:
  template <typename Call>
  Result<size_t> copy(Call call, void* ours, uint64_t theirs, size_t n) {
    iovec a{ours, n}, b{reinterpret_cast<void*>(theirs), n};
    const ssize_t done = call(::getpid(), &a, 1, &b, 1, 0);
    if (done <= 0) return Errno{EFAULT};
    return static_cast<size_t>(done);
  }
};

MATCHER_P(FailsWith, e, "") { return arg.has_error() && to_int(arg.error()) == e; }

ByteSpan bytes(std::string_view s) { return {reinterpret_cast<const std::byte*>(s.data()), s.size()}; }

class SpecialFsTest : public testing::Test {
 protected:
  SpecialFsTest() : kernel_(EventLoop::create().value(), options()) {
    auto fs = vfs::make_tmpfs({}, kernel_.context().now());
    fs->set_dev(kernel_.next_dev());
    kernel_.set_mounts(std::make_unique<vfs::MountNamespace>(fs, 0, "none"));
    kernel_.mounts().set_special_opener(&kernel_.special());
    const vfs::Path root = kernel_.mounts().root();
    context_ = {root, root, 0};
    register_devices(kernel_);
    for (const char* dir : {"/dev", "/proc", "/sys"}) {
      EXPECT_TRUE(kernel_.mounts().mkdir(kernel_.context(), context_, root, dir, 0755).has_value());
    }
    mount("devtmpfs", "/dev");
    mount("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666");
    mount("proc", "/proc");
    mount("sysfs", "/sys");
    task_ = start(7);
    process_ = task_->process_ref();
  }

  static Kernel::Options options() {
    Kernel::Options o;
    o.cpus = 3;
    o.limits.memory = 256 << 20;
    return o;
  }

  std::shared_ptr<Task> start(int32_t pid) {
    auto process = std::make_shared<Process>(kernel_, pid);
    for (auto& l : process->limits) l = {RLIM_INFINITY, RLIM_INFINITY};
    process->actions = std::make_shared<SignalActions>();
    auto session = std::make_shared<Session>();
    session->sid = pid;
    process->group = kernel_.make_group(pid, session);
    auto task = std::make_shared<Task>(kernel_, pid, process);
    vfs::Credentials root;
    root.cap_permitted = root.cap_effective = vfs::kAllCaps;
    auto memory = std::make_shared<MemoryManager>(kernel_, std::make_shared<OwnMemory>());
    memory->arg_start = reinterpret_cast<uint64_t>(kArgs);
    memory->arg_end = memory->arg_start + sizeof kArgs;
    Vma heap;
    heap.end = 0x12000;
    heap.prot = PROT_READ | PROT_WRITE;
    heap.name = "[heap]";
    memory->record(0x10000, heap);
    task->set_parts({memory, std::make_shared<FdTable>(), std::make_shared<vfs::FsContext>(context_),
                     std::make_shared<const vfs::Credentials>(root)});
    task->comm = "ca t)";
    process->leader = task.get();
    kernel_.add_task(task);
    return task;
  }

  void mount(std::string_view type, const std::string& where, std::string_view data = "") {
    auto fs = make_file_system(kernel_, kernel_.context(), type, "none", data);
    ASSERT_TRUE(fs.has_value()) << type;
    auto at = kernel_.mounts().walk(kernel_.context(), context_, context_.root, where, vfs::kFollow);
    ASSERT_TRUE(at.has_value()) << where;
    ASSERT_TRUE(kernel_.mounts().mount(kernel_.context(), fs.value(), at.value(), 0, "none").has_value());
  }

  Result<vfs::FileRef> open(const std::string& path, uint32_t flags = O_RDONLY) {
    return kernel_.mounts().open(*task_, context_, context_.root, path, {.flags = flags});
  }
  std::string text(const std::string& path) {
    auto f = open(path);
    if (!f.has_value()) return "open: " + describe(f.error());
    std::string all, chunk(700, '\0');
    while (true) {
      auto n = f.value()->read(*task_, {reinterpret_cast<std::byte*>(chunk.data()), chunk.size()});
      if (!n.has_value()) return "read: " + describe(n.error());
      if (n.value() == 0) return all;
      all.append(chunk, 0, n.value());
    }
  }
  std::string link(const std::string& path) {
    auto at = kernel_.mounts().walk(*task_, context_, context_.root, path, 0);
    if (!at.has_value()) return describe(at.error());
    auto t = kernel_.mounts().readlink(*task_, at.value());
    return t.has_value() ? t.value() : describe(t.error());
  }
  std::vector<std::string> list(const std::string& path) {
    struct Names final : vfs::DirSink {
      std::vector<std::string> names;
      size_t room = 0;
      bool add(const vfs::DirEntry& e) override {
        if (room == 0) return false;
        --room;
        names.emplace_back(e.name);
        return true;
      }
    } sink;
    auto f = open(path, O_RDONLY | O_DIRECTORY);
    if (!f.has_value()) return {describe(f.error())};
    for (size_t before = ~size_t{0}; before != sink.names.size();) {
      before = sink.names.size();
      sink.room = 3;
      EXPECT_TRUE(f.value()->readdir(*task_, sink).has_value());
    }
    return sink.names;
  }
  std::string drain(vfs::File& f) {
    std::string chunk(4096, '\0');
    auto n = f.read(*task_, {reinterpret_cast<std::byte*>(chunk.data()), chunk.size()});
    if (!n.has_value()) return describe(n.error());
    chunk.resize(n.value());
    return chunk;
  }
  void put(vfs::File& f, std::string_view s) {
    auto n = f.write(*task_, bytes(s));
    ASSERT_TRUE(n.has_value());
    ASSERT_EQ(n.value(), s.size());
  }

  // A terminal's ioctl with its argument in memory that a guest could have.
  template <typename T>
  bool control(vfs::File& f, uint32_t request, T& value) {
    std::memcpy(page_, &value, sizeof value);
    const bool done = f.ioctl(*task_, request, reinterpret_cast<uint64_t>(page_)).has_value();
    std::memcpy(&value, page_, sizeof value);
    return done;
  }

  struct Pair {
    vfs::FileRef master, slave;
  };
  Pair pty() {
    Pair p;
    p.master = open("/dev/ptmx", O_RDWR | O_NONBLOCK).value();
    int unlock = 0, n = -1;
    EXPECT_TRUE(control(*p.master, TIOCSPTLCK, unlock));
    EXPECT_TRUE(control(*p.master, TIOCGPTN, n));
    p.slave = open("/dev/pts/" + std::to_string(n), O_RDWR | O_NONBLOCK).value();
    return p;
  }

  static constexpr char kArgs[] = "cat\0-n";
  Kernel kernel_;
  vfs::FsContext context_;
  std::shared_ptr<Task> task_;
  ProcessRef process_;
  void* page_ = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
};

TEST_F(SpecialFsTest, EveryListedFileCanBeRead) {
  std::vector<std::string> dirs = {"/proc", "/sys"};
  size_t files = 0;
  while (!dirs.empty()) {
    const std::string dir = dirs.back();
    dirs.pop_back();
    for (const auto& name : list(dir)) {
      if (name == "." || name == "..") continue;
      const std::string path = dir + "/" + name;
      auto at = kernel_.mounts().walk(*task_, context_, context_.root, path, 0);
      ASSERT_TRUE(at.has_value()) << path;
      if (at.value().inode()->is_dir()) dirs.push_back(path);
      if (!at.value().inode()->is_regular() || name == "mem") continue;
      EXPECT_THAT(text(path), testing::Not(StartsWith("read:"))) << path;
      EXPECT_THAT(text(path), testing::Not(StartsWith("open:"))) << path;
      ++files;
    }
  }
  EXPECT_GT(files, 250u);
}

TEST_F(SpecialFsTest, ProcessFacts) {
  EXPECT_EQ(link("/proc/self"), "7");
  EXPECT_EQ(text("/proc/7/cmdline"), std::string(kArgs, sizeof kArgs));
  EXPECT_THAT(text("/proc/self/stat"), StartsWith("7 (ca t)) R 0 7 7 0 -1 "));
  const std::string stat = text("/proc/7/stat");
  EXPECT_EQ(std::count(stat.begin(), stat.end(), ' '), 52);  // one is in the name
  EXPECT_THAT(text("/proc/7/status"), HasSubstr("\nPid:\t7\n"));
  EXPECT_EQ(text("/proc/7/maps"), "00010000-00012000 rw-p 00000000 00:00 0 "
                                  "                                 [heap]\n");
  EXPECT_EQ(link("/proc/7/ns/pid"), "pid:[4026531836]");
  EXPECT_THAT(list("/proc/7/task"), testing::ElementsAre(".", "..", "7"));
  EXPECT_THAT(text("/proc/7/task/7/status"), HasSubstr("Name:\tca t)"));
  EXPECT_THAT(text("/proc/8/stat"), HasSubstr("ENOENT"));
  EXPECT_THAT(text("/proc/mounts"), HasSubstr("none /dev/pts devpts rw,gid=5,mode=620,ptmxmode=666 0 0\n"));
  auto f = open("/proc/7/stat").value();
  kernel_.remove_task(*task_);
}

TEST_F(SpecialFsTest, Descriptors) {
  ASSERT_TRUE(task_->fds().install(open("/dev/null", O_RDWR).value(), true, 64).has_value());
  EXPECT_THAT(list("/proc/self/fd"), testing::ElementsAre(".", "..", "0"));
  EXPECT_EQ(link("/proc/self/fd/0"), "/dev/null");
  EXPECT_THAT(text("/proc/self/fdinfo/0"), StartsWith("pos:\t0\nflags:\t02100002\nmnt_id:\t"));
  EXPECT_EQ(text("/proc/self/fd/0"), "");
  EXPECT_EQ(link("/proc/self/fd/1"), describe(Errno{ENOENT}));
  auto mem = open("/proc/self/mem").value();
  char got[3] = {};
  EXPECT_EQ(mem->pread(*task_, std::as_writable_bytes(std::span(got)), reinterpret_cast<uint64_t>(kArgs)).value(), 3u);
  EXPECT_EQ(std::string_view(got, 3), "cat");
}

TEST_F(SpecialFsTest, SystemFacts) {
  EXPECT_THAT(text("/proc/meminfo"), StartsWith("MemTotal:         262144 kB\n"));
  EXPECT_THAT(text("/proc/cpuinfo"), HasSubstr("processor\t: 2\n"));
  EXPECT_EQ(text("/sys/devices/system/cpu/online"), "0-2\n");
  EXPECT_EQ(text("/sys/devices/system/cpu/cpu1/topology/thread_siblings"), "2\n");
  EXPECT_EQ(text("/proc/sys/kernel/hostname"), kernel_.hostname + "\n");
  put(*open("/proc/sys/vm/overcommit_memory", O_WRONLY | O_TRUNC).value(), "1\n");
  EXPECT_EQ(text("/proc/sys/vm/overcommit_memory"), "1\n");
  EXPECT_THAT(text("/proc/stat"), HasSubstr("cpu2 "));
}

TEST_F(SpecialFsTest, CookedLine) {
  Pair p = pty();
  put(*p.master, "ab\x7f" "c");
  EXPECT_EQ(drain(*p.slave), describe(Errno{EAGAIN}));
  EXPECT_EQ(p.slave->poll(*task_) & POLLIN, 0u);
  put(*p.master, "\r");
  EXPECT_NE(p.slave->poll(*task_) & POLLIN, 0u);
  EXPECT_EQ(drain(*p.slave), "ac\n");
  EXPECT_EQ(drain(*p.master), "ab\b \bc\r\n");
  put(*p.master, "xy\x04");
  EXPECT_EQ(drain(*p.slave), "xy");
  put(*p.master, "\x04");
  EXPECT_EQ(drain(*p.slave), "");
  (void)drain(*p.master);
  put(*p.slave, "a\nb");
  EXPECT_EQ(drain(*p.master), "a\r\nb");
}

TEST_F(SpecialFsTest, JobControlOfTerminal) {
  Pair p = pty();  // we lead a session, so it is ours now
  EXPECT_NE(process_->group->session->tty, nullptr);
  int pgid = 0;
  EXPECT_TRUE(control(*p.slave, TIOCGPGRP, pgid));
  EXPECT_EQ(pgid, 7);
  EXPECT_THAT(text("/proc/7/stat"), HasSubstr(" 7 7 34816 7 "));
  process_->actions->at[SIGINT].handler = 0x1000;
  task_->set_mask(SignalSet::of(SIGINT));
  put(*p.master, "zz\x03");
  EXPECT_TRUE(process_->pending.set().has(SIGINT));
  EXPECT_EQ(drain(*p.master), "^C");
  EXPECT_TRUE(open("/dev/tty", O_RDWR).has_value());
  p.master.reset();
  EXPECT_EQ(process_->group->session->tty, nullptr);
  EXPECT_TRUE(process_->pending.set().has(SIGHUP));
  EXPECT_EQ(drain(*p.slave), "");
  EXPECT_THAT(p.slave->write(*task_, bytes("x")), FailsWith(EIO));
  EXPECT_THAT(open("/dev/pts/0", O_RDWR), FailsWith(ENOENT));
  EXPECT_THAT(open("/dev/tty", O_RDWR), FailsWith(ENXIO));
}

TEST_F(SpecialFsTest, RawTerminalAndHangUpOfSlave) {
  Pair p = pty();
  std::array<uint32_t, 9> t{};  // struct termios of the kernel
  ASSERT_TRUE(control(*p.slave, TCGETS, t));
  t[0] = 0;
  t[1] &= ~uint32_t{OPOST};
  t[3] = 0;
  put(*p.master, "half");
  ASSERT_TRUE(control(*p.slave, TCSETS, t));
  EXPECT_EQ(drain(*p.slave), "half");
  (void)drain(*p.master);
  put(*p.master, "\x03\r");
  EXPECT_EQ(drain(*p.slave), "\x03\r");
  put(*p.slave, "\n");
  EXPECT_EQ(drain(*p.master), "\n");
  EXPECT_EQ(drain(*p.master), describe(Errno{EAGAIN}));
  p.slave.reset();
  EXPECT_EQ(drain(*p.master), describe(Errno{EIO}));
  EXPECT_NE(p.master->poll(*task_) & POLLHUP, 0u);
}

TEST_F(SpecialFsTest, ConsoleCarriesBytes) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  std::vector<UniqueFd> stdio;
  stdio.emplace_back(ends[0]);
  auto made = make_console(kernel_, std::move(stdio), 24, 80, 1000);
  ASSERT_TRUE(made.has_value());
  Console c = std::move(made).value();
  process_->group->session->tty = c.tty;
  process_->group->session->foreground_pgid = 7;
  winsize w{};
  ASSERT_TRUE(control(*c.file, TIOCGWINSZ, w));
  EXPECT_EQ(w.ws_col, 80);
  EXPECT_TRUE(resize_console(kernel_, 7, 30, 100).has_value());
  ASSERT_EQ(::write(ends[1], "hi\r", 3), 3);
  Timer stop(kernel_.loop(), [&] { kernel_.loop().stop(); });
  stop.arm(EventLoop::now_ns() + 20'000'000);
  kernel_.loop().run();
  ASSERT_TRUE(c.file->set_flags(O_NONBLOCK).has_value());
  EXPECT_EQ(drain(*c.file), "hi\n");
  put(*c.file, "out\n");
  char got[64];
  const ssize_t n = ::read(ends[1], got, sizeof got);
  EXPECT_EQ(std::string(got, static_cast<size_t>(n)), "hi\r\nout\r\n");
  c.tty.reset();
  c.file.reset();
  process_->group->session->tty.reset();
  EXPECT_EQ(::read(ends[1], got, sizeof got), 0);
  ::close(ends[1]);
}

}  // namespace
}  // namespace run9::sentry
