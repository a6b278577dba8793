// The handlers of the file families, run on a real Kernel over a tmpfs. The "guest" is this process: an
// address space that reads and writes our own memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "sentry/fs/host_file.h"
#include "sentry/fs/special.h"
#include "sentry/ipc/pipe.h"
#include "sentry/syscalls/dir.h"
#include "sentry/syscalls/fd.h"
#include "sentry/syscalls/file_io.h"
#include "sentry/syscalls/file_open.h"
#include "sentry/syscalls/file_space.h"
#include "sentry/syscalls/file_transfer.h"
#include "sentry/syscalls/file_util.h"
#include "sentry/syscalls/meta.h"
#include "sentry/syscalls/mount.h"
#include "sentry/syscalls/names.h"
#include "sentry/syscalls/xattr.h"
#include "sentry/task/kernel.h"
#include "vfs/tmpfs/tmpfs.h"

namespace run9::sentry {
namespace {

class OwnMemory final : public AddressSpace {
 public:
  Result<void> map(Context*, const MapRequest&) override { return Errno{ENOSYS}; }
  Result<void> unmap(Context*, uint64_t, uint64_t) override { return Errno{ENOSYS}; }
  Result<void> protect(Context*, uint64_t, uint64_t, int) override { return Errno{ENOSYS}; }
  Result<void> remap(Context*, uint64_t, uint64_t, uint64_t, uint64_t) override {
    return Errno{ENOSYS};
  }
  Result<void> advise(Context*, uint64_t, uint64_t, int) override { return Errno{ENOSYS}; }
  Result<void> map_all(Context*, std::span<const MapRequest>) override { return Errno{ENOSYS}; }
  Result<size_t> read(uint64_t addr, std::span<std::byte> dst) override {
    return copy(process_vm_readv, dst.data(), addr, dst.size());
  }
  Result<size_t> write(uint64_t addr, ByteSpan src) override {
    return copy(process_vm_writev, const_cast<std::byte*>(src.data()), addr, src.size());
  }
  Result<Child> fork(Context&, const Regs&) override { return Errno{ENOSYS}; }
  Result<std::unique_ptr<Context>> clone_thread(Context&, const Regs&, bool) override {
    return Errno{ENOSYS};
  }
  void kill() override {}
  Result<std::unique_ptr<Context>> first_thread(const Regs&) override { return Errno{ENOSYS}; }
  uint64_t cpu_time_ns() const override { return 0; }
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
MATCHER_P(Gives, v, "") { return arg.has_value() && arg.value() == static_cast<uint64_t>(v); }

class FileCallsTest : public testing::Test {
 protected:
  FileCallsTest() : kernel_(EventLoop::create().value(), {}) {
    auto fs = vfs::make_tmpfs({}, kernel_.context().now());
    fs->set_dev(kernel_.next_dev());
    kernel_.set_mounts(std::make_unique<vfs::MountNamespace>(fs, 0, "none"));
    kernel_.mounts().set_special_opener(&kernel_.special());
    process_ = std::make_shared<Process>(kernel_, 7);
    for (auto& l : process_->limits) l = {RLIM_INFINITY, RLIM_INFINITY};
    process_->limits[RLIMIT_NOFILE] = {64, 64};
    task_ = std::make_shared<Task>(kernel_, 7, process_);
    vfs::Credentials root;
    root.cap_permitted = root.cap_effective = vfs::kAllCaps;
    auto fs_context = std::make_shared<vfs::FsContext>();
    fs_context->root = fs_context->cwd = kernel_.mounts().root();
    task_->set_parts({std::make_shared<MemoryManager>(kernel_, std::make_shared<OwnMemory>()),
                      std::make_shared<FdTable>(), fs_context,
                      std::make_shared<const vfs::Credentials>(root)});
    page_ = static_cast<char*>(::mmap(nullptr, 4 * 4096, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
    ::mprotect(page_ + 3 * 4096, 4096, PROT_NONE);
  }
  ~FileCallsTest() override { ::munmap(page_, 4 * 4096); }

  // Calls run on a fiber, as a guest's would.
  void run(std::function<void()> body) {
    kernel_.loop().spawn([this, body = std::move(body)] {
      body();
      kernel_.loop().stop();
    });
    kernel_.loop().run();
  }
  // Guest strings live in the page; each call uses up a little of it.
  UserString str(const std::string& s) {
    char* at = page_ + used_;
    std::memcpy(at, s.c_str(), s.size() + 1);
    used_ = (used_ + s.size() + 16) % 2048;
    return {reinterpret_cast<uint64_t>(at)};
  }
  char* buf() { return page_ + 4096; }
  uint64_t addr(const void* p) { return reinterpret_cast<uint64_t>(p); }
  GuestFd fd(const Result<uint64_t>& r) {
    EXPECT_TRUE(r.has_value());
    return GuestFd{static_cast<int32_t>(r.value())};
  }
  GuestFd make(const std::string& name, int flags = O_RDWR | O_CREAT) {
    return fd(sys_open(*task_, str(name), flags, 0644));
  }
  Result<uint64_t> put(GuestFd f, std::string_view s) {
    std::memcpy(buf(), s.data(), s.size());
    return sys_write(*task_, f, addr(buf()), s.size());
  }
  std::string get(GuestFd f, uint64_t n, int64_t at) {
    auto r = sys_pread64(*task_, f, addr(buf()), n, at);
    EXPECT_TRUE(r.has_value());
    return {buf(), r.value()};
  }

  Kernel kernel_;
  ProcessRef process_;
  std::shared_ptr<Task> task_;
  char* page_ = nullptr;
  size_t used_ = 0;
};

TEST_F(FileCallsTest, ReadsBackWhatItWrote) {
  run([&] {
    const GuestFd f = make("/a");
    EXPECT_THAT(put(f, "hello"), Gives(5));
    EXPECT_THAT(sys_lseek(*task_, f, 1, SEEK_SET), Gives(1));
    EXPECT_THAT(sys_read(*task_, f, addr(buf()), 100), Gives(4));
    EXPECT_EQ(std::string(buf(), 4), "ello");
    EXPECT_THAT(sys_read(*task_, f, addr(buf()), 100), Gives(0));
    EXPECT_THAT(sys_close(*task_, f), Gives(0));
    EXPECT_THAT(sys_close(*task_, f), FailsWith(EBADF));
  });
}

TEST_F(FileCallsTest, MovesMoreThanTheBufferHolds) {
  run([&] {
    std::string big(700'000, 'x');
    for (size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 7);
    const GuestFd f = make("/big");
    EXPECT_THAT(sys_write(*task_, f, addr(big.data()), big.size()), Gives(big.size()));
    std::string back(big.size() + 5, '\0');
    EXPECT_THAT(sys_pread64(*task_, f, addr(back.data()), back.size(), 0), Gives(big.size()));
    back.resize(big.size());
    EXPECT_EQ(back, big);
  });
}

TEST_F(FileCallsTest, AFaultEndsATransferWhereItHappens) {
  run([&] {
    const GuestFd f = make("/a");
    const std::string text(8192, 'y');
    EXPECT_THAT(sys_write(*task_, f, addr(text.data()), 8192), Gives(8192));
    EXPECT_THAT(sys_lseek(*task_, f, 0, SEEK_SET), Gives(0));
    EXPECT_THAT(sys_read(*task_, f, addr(page_ + 2 * 4096), 8192), Gives(4096));
    EXPECT_THAT(sys_lseek(*task_, f, 0, SEEK_CUR), Gives(4096));
    EXPECT_THAT(sys_read(*task_, f, addr(page_ + 3 * 4096), 10), FailsWith(EFAULT));
    EXPECT_THAT(sys_lseek(*task_, f, 0, SEEK_CUR), Gives(4096));
    EXPECT_THAT(sys_write(*task_, f, addr(page_ + 3 * 4096), 10), FailsWith(EFAULT));
    EXPECT_THAT(sys_write(*task_, f, ~uint64_t{0} - 4, 10), FailsWith(EFAULT));
    EXPECT_THAT(sys_read(*task_, f, 8, ~uint64_t{0}), FailsWith(EFAULT));
  });
}

TEST_F(FileCallsTest, AppendsAndVectors) {
  run([&] {
    const GuestFd f = make("/a", O_WRONLY | O_CREAT | O_APPEND);
    EXPECT_THAT(put(f, "one"), Gives(3));
    EXPECT_THAT(sys_lseek(*task_, f, 0, SEEK_SET), Gives(0));
    EXPECT_THAT(put(f, "two"), Gives(3));
    EXPECT_THAT(sys_read(*task_, f, addr(buf()), 1), FailsWith(EBADF));
    char parts[] = "ABCDEF";
    auto* iov = reinterpret_cast<iovec*>(buf() + 1024);
    iov[0] = {std::strcpy(buf(), parts), 2};
    iov[1] = {buf() + 2, 0};
    iov[2] = {buf() + 2, 4};
    EXPECT_THAT(sys_writev(*task_, f, addr(iov), 3), Gives(6));
    EXPECT_THAT(sys_writev(*task_, f, addr(iov), 1025), FailsWith(EINVAL));
    // RWF_NOAPPEND.
    EXPECT_THAT(sys_pwritev2(*task_, f, addr(iov), 1, 0, 0, 0x20), Gives(2));
    EXPECT_THAT(sys_pwritev2(*task_, f, addr(iov), 1, 0, 0, 0x400), FailsWith(EOPNOTSUPP));
    EXPECT_EQ(get(make("/a", O_RDONLY), 100, 0), "ABetwoABCDEF");
  });
}

TEST_F(FileCallsTest, FileSizeLimit) {
  run([&] {
    process_->limits[RLIMIT_FSIZE] = {10, 10};
    const GuestFd f = make("/a");
    EXPECT_THAT(put(f, "12345678"), Gives(8));
    EXPECT_THAT(put(f, "12345678"), Gives(2));
    EXPECT_THAT(sys_ftruncate(*task_, f, 5), Gives(0));
  });
}

TEST_F(FileCallsTest, Descriptors) {
  run([&] {
    const GuestFd f = make("/a", O_RDWR | O_CREAT | O_CLOEXEC);
    EXPECT_EQ(to_int(f), 0);
    EXPECT_THAT(sys_fcntl(*task_, f, F_GETFD, 0), Gives(FD_CLOEXEC));
    EXPECT_THAT(sys_dup(*task_, f), Gives(1));
    EXPECT_THAT(sys_dup2(*task_, f, GuestFd{9}), Gives(9));
    EXPECT_THAT(sys_dup2(*task_, f, GuestFd{64}), FailsWith(EBADF));
    EXPECT_THAT(sys_dup2(*task_, f, f), Gives(0));
    EXPECT_THAT(sys_dup3(*task_, f, f, 0), FailsWith(EINVAL));
    EXPECT_THAT(sys_fcntl(*task_, f, F_DUPFD, 8), Gives(8));
    EXPECT_THAT(sys_fcntl(*task_, f, F_DUPFD, 8), Gives(10));
    EXPECT_THAT(sys_fcntl(*task_, f, F_DUPFD, 64), FailsWith(EINVAL));
    EXPECT_THAT(sys_fcntl(*task_, f, F_GETFL, 0), Gives(O_RDWR | 0100000));
    EXPECT_THAT(sys_close_range(*task_, 1, 9, 0), Gives(0));
    EXPECT_THAT(sys_fcntl(*task_, GuestFd{9}, F_GETFD, 0), FailsWith(EBADF));
    EXPECT_THAT(sys_dup(*task_, f), Gives(1));
    for (int i = 2; i < 64; ++i) (void)sys_dup(*task_, f).has_value();
    EXPECT_THAT(sys_dup(*task_, f), FailsWith(EMFILE));
    EXPECT_THAT(sys_open(*task_, str("/not/there"), O_RDONLY, 0), FailsWith(EMFILE));
  });
}

TEST_F(FileCallsTest, RecordLocks) {
  run([&] {
    const GuestFd f = make("/a");
    const GuestFd g = make("/a");
    auto* l = reinterpret_cast<struct flock*>(buf());
    *l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 10, .l_pid = 0};
    EXPECT_THAT(sys_fcntl(*task_, f, F_OFD_SETLK, addr(l)), Gives(0));
    EXPECT_THAT(sys_fcntl(*task_, g, F_OFD_SETLK, addr(l)), FailsWith(EAGAIN));
    EXPECT_THAT(sys_fcntl(*task_, g, F_GETLK, addr(l)), Gives(0));
    EXPECT_EQ(l->l_type, F_WRLCK);
    EXPECT_EQ(l->l_start, 5);
    EXPECT_EQ(l->l_len, 10);
    EXPECT_EQ(l->l_pid, -1);
    EXPECT_THAT(sys_close(*task_, f), Gives(0));
    *l = {.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = 0, .l_len = 0, .l_pid = 0};
    EXPECT_THAT(sys_fcntl(*task_, g, F_SETLK, addr(l)), Gives(0));
    EXPECT_THAT(sys_flock(*task_, g, LOCK_EX), Gives(0));
    EXPECT_THAT(sys_flock(*task_, make("/a"), LOCK_SH | LOCK_NB), FailsWith(EAGAIN));
    EXPECT_THAT(sys_flock(*task_, g, LOCK_EX | LOCK_SH), FailsWith(EINVAL));
  });
}

TEST_F(FileCallsTest, NamesAndAttributes) {
  run([&] {
    EXPECT_THAT(sys_mkdir(*task_, str("/d"), 0777), Gives(0));
    EXPECT_THAT(sys_mkdir(*task_, str("/d"), 0777), FailsWith(EEXIST));
    EXPECT_THAT(sys_chdir(*task_, str("d")), Gives(0));
    make("x");
    EXPECT_THAT(sys_link(*task_, str("x"), str("y")), Gives(0));
    EXPECT_THAT(sys_symlink(*task_, str("x"), str("s")), Gives(0));
    EXPECT_THAT(sys_symlink(*task_, str(""), str("t")), FailsWith(ENOENT));
    EXPECT_THAT(sys_readlink(*task_, str("s"), addr(buf()), 100), Gives(1));
    EXPECT_THAT(sys_readlink(*task_, str("x"), addr(buf()), 100), FailsWith(EINVAL));
    EXPECT_THAT(sys_readlink(*task_, str("s"), addr(buf()), 0), FailsWith(EINVAL));
    auto* st = reinterpret_cast<struct ::stat*>(buf());
    EXPECT_THAT(sys_stat(*task_, str("s"), addr(st)), Gives(0));
    EXPECT_EQ(st->st_nlink, 2u);
    EXPECT_EQ(st->st_mode, S_IFREG | 0644u);
    EXPECT_THAT(sys_lstat(*task_, str("s"), addr(st)), Gives(0));
    EXPECT_TRUE(S_ISLNK(st->st_mode));
    EXPECT_THAT(sys_stat(*task_, str(""), addr(st)), FailsWith(ENOENT));
    EXPECT_THAT(sys_rename(*task_, str("y"), str("z")), Gives(0));
    EXPECT_THAT(sys_access(*task_, str("y"), F_OK), FailsWith(ENOENT));
    EXPECT_THAT(sys_access(*task_, str("z"), X_OK), FailsWith(EACCES));
    EXPECT_THAT(sys_access(*task_, str("z"), 8), FailsWith(EINVAL));
    EXPECT_THAT(sys_chmod(*task_, str("z"), 0700), Gives(0));
    EXPECT_THAT(sys_access(*task_, str("z"), X_OK), Gives(0));
    EXPECT_THAT(sys_chown(*task_, str("z"), 5, ~0u), Gives(0));
    EXPECT_THAT(sys_utimensat(*task_, GuestFd{AT_FDCWD}, str("z"), 0, 0), Gives(0));
    auto* sx = reinterpret_cast<struct ::statx*>(buf());
    EXPECT_THAT(sys_statx(*task_, GuestFd{AT_FDCWD}, str("z"), 0, STATX_ALL, addr(sx)), Gives(0));
    EXPECT_EQ(sx->stx_uid, 5u);
    EXPECT_EQ(sx->stx_mode & 07777, 0700);
    EXPECT_THAT(sys_getcwd(*task_, addr(buf()), 3), Gives(3));
    EXPECT_STREQ(buf(), "/d");
    EXPECT_THAT(sys_getcwd(*task_, addr(buf()), 2), FailsWith(ERANGE));
    EXPECT_THAT(sys_unlink(*task_, str("/d")), FailsWith(EISDIR));
    EXPECT_THAT(sys_rmdir(*task_, str("/d")), FailsWith(ENOTEMPTY));
    EXPECT_THAT(sys_mknod(*task_, str("p"), S_IFDIR, 0), FailsWith(EPERM));
    EXPECT_THAT(sys_setxattr(*task_, str("z"), str("user.k"), str("val").addr, 3, 0), Gives(0));
    EXPECT_THAT(sys_getxattr(*task_, str("z"), str("user.k"), addr(buf()), 2), FailsWith(ERANGE));
    EXPECT_THAT(sys_getxattr(*task_, str("z"), str("user.k"), addr(buf()), 9), Gives(3));
    EXPECT_THAT(sys_listxattr(*task_, str("z"), 0, 0), Gives(7));
  });
}

TEST_F(FileCallsTest, ListsADirectory) {
  run([&] {
    for (int i = 0; i < 200; ++i) sys_close(*task_, make("/f" + std::to_string(i))).value();
    const GuestFd d = fd(sys_open(*task_, str("/"), O_RDONLY | O_DIRECTORY, 0));
    EXPECT_THAT(sys_read(*task_, d, addr(buf()), 10), FailsWith(EISDIR));
    EXPECT_THAT(sys_getdents64(*task_, d, addr(buf()), 10), FailsWith(EINVAL));
    int entries = 0;
    while (true) {
      const uint64_t n = sys_getdents64(*task_, d, addr(buf()), 1000).value();
      if (n == 0) break;
      for (uint64_t at = 0; at < n; ++entries) {
        uint16_t length = 0;
        std::memcpy(&length, buf() + at + 16, 2);
        ASSERT_EQ(length % 8, 0);
        at += length;
      }
    }
    EXPECT_EQ(entries, 202);
  });
}

TEST_F(FileCallsTest, CopiesBetweenFiles) {
  run([&] {
    const GuestFd a = make("/a");
    const GuestFd b = make("/b");
    EXPECT_THAT(put(a, "0123456789"), Gives(10));
    auto* off = reinterpret_cast<int64_t*>(buf() + 512);
    *off = 4;
    EXPECT_THAT(sys_sendfile(*task_, b, a, addr(off), 100), Gives(6));
    EXPECT_EQ(*off, 10);
    *off = 0;
    EXPECT_THAT(sys_copy_file_range(*task_, a, addr(off), b, 0, 3, 0), Gives(3));
    EXPECT_EQ(get(b, 100, 0), "456789012");
    *off = 5;
    EXPECT_THAT(sys_copy_file_range(*task_, a, addr(off), a, addr(off), 3, 0), FailsWith(EINVAL));
  });
}

TEST_F(FileCallsTest, MemfdSealsAndMounts) {
  run([&] {
    const GuestFd m = fd(sys_memfd_create(*task_, str("x"), 2 /*MFD_ALLOW_SEALING*/));
    EXPECT_THAT(put(m, "abc"), Gives(3));
    EXPECT_THAT(sys_fcntl(*task_, m, F_ADD_SEALS, F_SEAL_WRITE), Gives(0));
    EXPECT_THAT(sys_fcntl(*task_, m, F_GET_SEALS, 0), Gives(F_SEAL_WRITE));
    EXPECT_THAT(put(m, "abc"), FailsWith(EPERM));
    EXPECT_EQ(display_name(kernel_, task_->fds().get(m).value()->path(), task_->fs().root),
              "/memfd:x (deleted)");
    sys_mkdir(*task_, str("/mnt"), 0755).value();
    EXPECT_THAT(sys_mount(*task_, {}, str("/mnt"), str("nofs"), 0, 0), FailsWith(ENODEV));
    EXPECT_THAT(sys_mount(*task_, str("t"), str("/mnt"), str("tmpfs"), MS_RDONLY,
                          str("size=64k,mode=700").addr),
                Gives(0));
    EXPECT_THAT(sys_mkdir(*task_, str("/mnt/x"), 0755), FailsWith(EROFS));
    EXPECT_THAT(sys_mount(*task_, {}, str("/mnt"), {}, MS_REMOUNT, 0), Gives(0));
    EXPECT_THAT(sys_mkdir(*task_, str("/mnt/x"), 0755), Gives(0));
    EXPECT_THAT(sys_umount2(*task_, str("/mnt"), 0), Gives(0));
    EXPECT_THAT(sys_umount2(*task_, str("/mnt"), 0), FailsWith(EINVAL));
  });
}

TEST_F(FileCallsTest, SplicesAndTees) {
  run([&] {
    auto ends = make_pipe(kernel_, *task_, 0);
    auto other = make_pipe(kernel_, *task_, 0);
    const auto add = [&](vfs::FileRef f) {
      return task_->fds().install(std::move(f), false, 64).value();
    };
    const GuestFd in = add(std::move(ends.reader)), out = add(std::move(ends.writer));
    const GuestFd in2 = add(std::move(other.reader)), out2 = add(std::move(other.writer));
    const GuestFd a = make("/a");
    const std::string text(100'000, 't');
    EXPECT_THAT(sys_write(*task_, a, addr(text.data()), text.size()), Gives(text.size()));
    auto* off = reinterpret_cast<int64_t*>(buf() + 512);
    *off = 1;
    // No more than the pipe holds.
    EXPECT_THAT(sys_splice(*task_, a, addr(off), out, 0, 1 << 20, 0), Gives(65536));
    EXPECT_EQ(*off, 65537);
    EXPECT_THAT(sys_splice(*task_, a, addr(off), out, 0, 10, SPLICE_F_NONBLOCK), FailsWith(EAGAIN));
    EXPECT_THAT(sys_splice(*task_, a, addr(off), out, addr(off), 10, 0), FailsWith(ESPIPE));
    EXPECT_THAT(sys_tee(*task_, in, out, 100, 0), FailsWith(EINVAL));
    EXPECT_THAT(sys_tee(*task_, in, out2, 100, 0), Gives(100));
    EXPECT_THAT(sys_read(*task_, in2, addr(buf()), 200), Gives(100));
    EXPECT_THAT(sys_splice(*task_, in, 0, out2, 0, 300, 0), Gives(300));
    EXPECT_THAT(sys_splice(*task_, in2, 0, make("/b"), 0, 1000, 0), Gives(300));
    EXPECT_THAT(sys_splice(*task_, in2, 0, a, 0, 10, SPLICE_F_NONBLOCK), FailsWith(EAGAIN));
    EXPECT_THAT(sys_splice(*task_, a, 0, a, 0, 10, 0), FailsWith(EINVAL));
    EXPECT_THAT(sys_fcntl(*task_, in, F_GETPIPE_SZ, 0), Gives(65536));
    EXPECT_THAT(sys_fcntl(*task_, a, F_GETPIPE_SZ, 0), FailsWith(EBADF));
    EXPECT_THAT(sys_sendfile(*task_, out2, in, 0, 10), FailsWith(EINVAL));
    *off = 0;
    EXPECT_THAT(sys_sendfile(*task_, out2, a, addr(off), 500), Gives(500));
    EXPECT_THAT(sys_lseek(*task_, in, 0, SEEK_CUR), FailsWith(ESPIPE));
    auto* iov = reinterpret_cast<iovec*>(buf() + 1024);
    iov[0] = {buf(), 5};
    EXPECT_THAT(sys_vmsplice(*task_, out2, addr(iov), 1, 0), Gives(5));
    EXPECT_THAT(sys_vmsplice(*task_, a, addr(iov), 1, 0), FailsWith(EBADF));
    sys_close(*task_, out2).value();
    EXPECT_THAT(sys_splice(*task_, in2, 0, a, 0, 1000, 0), Gives(505));
    EXPECT_THAT(sys_splice(*task_, in2, 0, a, 0, 1000, 0), Gives(0));
  });
}

TEST_F(FileCallsTest, OneCallAtATimeMovesAPosition) {
  run([&] {
    const GuestFd a = make("/a");
    put(a, "0123456789").value();
    sys_lseek(*task_, a, 0, SEEK_SET).value();
    auto file = task_->fds().get(a).value();
    PositionLock held(*task_, *file);
    ASSERT_TRUE(held.acquire().has_value());
    EXPECT_EQ(kernel_.special().busy_positions().files.size(), 1u);
    // Another file is not in the way, a positioned read needs no lock.
    EXPECT_THAT(sys_read(*task_, make("/a"), addr(buf()), 3), Gives(3));
    EXPECT_EQ(get(a, 2, 4), "45");
  });
}

TEST_F(FileCallsTest, Fifos) {
  run([&] {
    EXPECT_THAT(sys_mknod(*task_, str("/p"), S_IFIFO | 0600, 0), Gives(0));
    const GuestFd w = fd(sys_open(*task_, str("/p"), O_RDWR | O_NONBLOCK, 0));
    const GuestFd r = fd(sys_open(*task_, str("/p"), O_RDONLY | O_NONBLOCK, 0));
    EXPECT_THAT(put(w, "via"), Gives(3));
    EXPECT_THAT(sys_read(*task_, r, addr(buf()), 10), Gives(3));
    EXPECT_THAT(sys_read(*task_, r, addr(buf()), 10), FailsWith(EAGAIN));
    EXPECT_THAT(sys_fallocate(*task_, w, 0, 0, 10), FailsWith(ESPIPE));
    EXPECT_THAT(sys_ftruncate(*task_, w, 0), FailsWith(EINVAL));
    EXPECT_THAT(sys_mknod(*task_, str("/c"), S_IFCHR | 0600, 0x103), Gives(0));
    EXPECT_THAT(sys_open(*task_, str("/c"), O_RDONLY, 0), FailsWith(ENXIO));
  });
}

TEST_F(FileCallsTest, HostPipeBlocksTheFiberOnly) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd far(ends[1]);
  GuestFd in{};
  run([&] {
    auto file = HostFile::create(kernel_, UniqueFd(ends[0]), *task_).value();
    EXPECT_TRUE(file->inode().type() == S_IFIFO);
    EXPECT_EQ(file->poll(*task_) & POLLIN, 0u);
    in = task_->fds().install(file, false, 64).value();
    kernel_.loop().spawn([&] { EXPECT_EQ(::write(far.get(), "late", 4), 4); });
    // The kernel's own context waits: this task never entered a call of a guest.
    std::byte b[16];
    auto n = file->read(kernel_.context(), b);
    EXPECT_TRUE(n.has_value() && n.value() == 4);
    EXPECT_THAT(sys_lseek(*task_, in, 0, SEEK_SET), FailsWith(ESPIPE));
    EXPECT_THAT(sys_pread64(*task_, in, addr(buf()), 1, 0), FailsWith(ESPIPE));
    EXPECT_THAT(sys_ioctl(*task_, in, 0x5401, addr(buf())), FailsWith(ENOTTY));
    far.reset();
    EXPECT_THAT(sys_read(*task_, in, addr(buf()), 10), Gives(0));
  });
}

TEST_F(FileCallsTest, HostPipeWriterWaitsForRoom) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd far(ends[0]);
  size_t drained = 0;
  bool written = false, reader_done = false;
  run([&] {
    auto file = HostFile::create(kernel_, UniqueFd(ends[1]), *task_).value();
    kernel_.loop().spawn([&] {
      std::vector<char> sink(10'000);
      while (drained < 300'000) {
        EXPECT_FALSE(written && drained < 200'000);
        const ssize_t n = ::read(far.get(), sink.data(), sink.size());
        ASSERT_GT(n, 0);
        drained += static_cast<size_t>(n);
        kernel_.loop().yield();
      }
      reader_done = true;
    });
    const std::vector<std::byte> data(300'000);
    auto n = file->write(kernel_.context(), data);
    written = true;
    EXPECT_TRUE(n.has_value() && n.value() == data.size());
    while (!reader_done) kernel_.loop().yield();
  });
}

}  // namespace
}  // namespace run9::sentry
