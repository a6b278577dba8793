// Which memory a call reads and writes, as far as its number and arguments tell, and where it is small: a call
// from a patched site brings it along in its control page and takes the results back in it. A call that is
// not here, or memory that does not fit, is copied by the Sentry, as is everything after a signal.
// Not here on purpose: words that other threads wait on (futex(2)'s first argument). Their value counts at the
// moment of the call, not some time before.
#pragma once
#include <asm/unistd.h>
#include <stdint.h>
#include <sys/uio.h>

#include <initializer_list>

#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry::trap {

enum class WindowKind : uint8_t { kNone, kString, kFixed, kCounted };

struct WindowRule {
  WindowKind kind = WindowKind::kNone;
  uint8_t arg = 0;
  uint8_t size_arg = 0;  // kCounted: times `size`
  uint16_t size = 0;

  // kFixed, kCounted: how much the call's arguments say.
  constexpr uint64_t bytes(const uint64_t* args) const {
    return kind == WindowKind::kFixed ? size : args[size_arg] * size;
  }
  // Of results, the first part alone if they are large.
  constexpr uint64_t out_bytes(const uint64_t* args) const { return first_part(args, kOutBuffer); }
  constexpr uint64_t bulk_bytes(const uint64_t* args) const { return first_part(args, STUB_BULK_SIZE); }
  constexpr uint64_t first_part(const uint64_t* args, uint64_t most) const {
    const uint64_t all = bytes(args);
    return all < most ? all : most;
  }
};

// Windows of a buffer follow each other, each at a multiple of 8.
constexpr uint32_t padded(uint32_t size) { return (size + 7) & ~7u; }

// Of a call whose first input is an array of iovec, all that it names: read along, or written as one.
enum class Vectors : uint8_t { kNone, kGather, kScatter };

struct CallWindows {
  WindowRule in[kWindows], out[kWindows];
  Vectors vectors = Vectors::kNone;
  // The call has at most four arguments: small input rides in the place of the others.
  bool spare = false;
  // What does not fit into the page's buffers goes by the thread's bulk area, up to its size: input whole, results in part.
  bool large = false;
};

// What is as small as this travels in the call line itself (Window::offset).
inline constexpr uint32_t kSmall = 16, kInLine = ~uint32_t{0};
// Likewise, in the bulk area.
inline constexpr uint32_t kInBulk = kInLine - 1;
// As kInLine, and the call succeeds even if it cannot be written.
inline constexpr uint32_t kToldInLine = kInLine - 2;
// In the bulk area, for all that the call's array of iovec names.
inline constexpr uint32_t kScattered = kInLine - 3;
constexpr bool rides_in_line(uint32_t offset) { return offset == kInLine || offset == kToldInLine; }
inline constexpr uint8_t kBulkReady = 0x80;
inline constexpr uint16_t kAllInBulk = 0xffff;  // CallLine::in_length: of input that goes by the bulk area, all
// All parts of a gathered write together.
inline constexpr uint32_t kMostGathered = 0x8000;
constexpr bool goes_by_bulk(uint64_t size) { return size > kInBuffer && size <= STUB_BULK_SIZE; }

inline constexpr uint32_t kWindowCalls = 450;

struct WindowTable {
  CallWindows calls[kWindowCalls];

  constexpr WindowTable() : calls{} {
    for (int nr : {__NR_open, __NR_access, __NR_chdir, __NR_mkdir, __NR_rmdir, __NR_creat, __NR_unlink, __NR_chmod,
                   __NR_chown, __NR_lchown, __NR_truncate, __NR_rename, __NR_link, __NR_symlink, __NR_symlinkat, __NR_mknod,
                   __NR_memfd_create, __NR_getxattr, __NR_lgetxattr}) {
      in_string(nr, 0);
    }
    for (int nr : {__NR_rename, __NR_link, __NR_symlink, __NR_getxattr, __NR_lgetxattr}) in_string(nr, 1, 1);
    in_string(__NR_symlinkat, 2, 1);
    for (int nr : {__NR_openat, __NR_unlinkat, __NR_mkdirat, __NR_mknodat, __NR_faccessat, __NR_faccessat2, __NR_fchmodat,
                   __NR_fchownat, __NR_utimensat, __NR_renameat, __NR_renameat2, __NR_linkat, __NR_inotify_add_watch,
                   __NR_fgetxattr}) {
      in_string(nr, 1);
    }
    for (int nr : {__NR_renameat, __NR_renameat2, __NR_linkat}) in_string(nr, 3, 1);
    for (int nr : {__NR_getxattr, __NR_lgetxattr, __NR_fgetxattr}) out_counted(nr, 2, 3, 1);
    in_fixed(__NR_utimensat, 2, 32, 1);
    for (int nr : {__NR_stat, __NR_lstat}) {
      in_string(nr, 0);
      out_fixed(nr, 1, 144);
    }
    out_fixed(__NR_fstat, 1, 144);
    in_string(__NR_newfstatat, 1);
    out_fixed(__NR_newfstatat, 2, 144);
    in_string(__NR_statx, 1);
    out_fixed(__NR_statx, 4, 256);
    in_string(__NR_readlink, 0);
    out_counted(__NR_readlink, 1, 2, 1);
    in_string(__NR_readlinkat, 1);
    out_counted(__NR_readlinkat, 2, 3, 1);
    in_string(__NR_statfs, 0);
    for (int nr : {__NR_statfs, __NR_fstatfs}) out_fixed(nr, 1, 120);
    out_counted(__NR_getcwd, 0, 1, 1);
    for (int nr : {__NR_read, __NR_pread64, __NR_recvfrom, __NR_getdents64}) {
      out_counted(nr, 1, 2, 1);
      calls[nr].large = true;
    }
    for (int nr : {__NR_write, __NR_pwrite64, __NR_sendto}) {
      in_counted(nr, 1, 2, 1);
      calls[nr].large = true;
    }
    calls[__NR_write].spare = calls[__NR_pwrite64].spare = true;
    for (int nr : {__NR_readv, __NR_preadv, __NR_preadv2}) vectors(nr, Vectors::kScatter);
    for (int nr : {__NR_writev, __NR_pwritev, __NR_pwritev2}) vectors(nr, Vectors::kGather);
    in_counted(__NR_sendto, 4, 5, 1, 1);
    for (int nr : {__NR_bind, __NR_connect}) in_counted(nr, 1, 2, 1);
    in_counted(__NR_setsockopt, 3, 4, 1);
    for (int nr : {__NR_accept, __NR_accept4, __NR_getsockname, __NR_getpeername}) {
      in_fixed(nr, 2, 4);
      out_fixed(nr, 1, 28);  // a sockaddr_in6
      out_fixed(nr, 2, 4, 1);
    }
    in_fixed(__NR_getsockopt, 4, 4);
    out_fixed(__NR_getsockopt, 3, 16);
    out_fixed(__NR_getsockopt, 4, 4, 1);
    for (int nr : {__NR_sendmsg, __NR_recvmsg}) in_fixed(nr, 1, 56);
    in_fixed(__NR_sendfile, 2, 8);
    out_fixed(__NR_sendfile, 2, 8);
    for (int nr : {__NR_copy_file_range, __NR_splice}) {
      for (uint8_t i : {0, 1}) {
        in_fixed(nr, static_cast<uint8_t>(2 * i + 1), 8, i);
        out_fixed(nr, static_cast<uint8_t>(2 * i + 1), 8, i);
      }
    }
    in_counted(__NR_clone3, 0, 1, 1);
    out_fixed(__NR_pipe, 0, 8);
    out_fixed(__NR_pipe2, 0, 8);
    out_fixed(__NR_socketpair, 3, 8);
    for (int nr : {__NR_poll, __NR_ppoll}) {
      in_counted(nr, 0, 1, 8);
      out_counted(nr, 0, 1, 8);
    }
    in_fixed(__NR_ppoll, 2, 16, 1);
    out_counted(__NR_epoll_wait, 1, 2, 12);
    out_counted(__NR_epoll_pwait, 1, 2, 12);
    out_counted(__NR_epoll_pwait2, 1, 2, 12);
    in_fixed(__NR_epoll_pwait2, 3, 16);
    in_fixed(__NR_epoll_ctl, 3, 12);
    out_fixed(__NR_wait4, 1, 4);
    out_fixed(__NR_wait4, 3, 144, 1);
    out_fixed(__NR_waitid, 2, 128);
    out_fixed(__NR_waitid, 4, 144, 1);
    in_fixed(__NR_rt_sigaction, 1, 32);
    out_fixed(__NR_rt_sigaction, 2, 32);
    in_fixed(__NR_rt_sigprocmask, 1, 8);
    out_fixed(__NR_rt_sigprocmask, 2, 8);
    out_fixed(__NR_rt_sigpending, 0, 8);
    in_fixed(__NR_rt_sigsuspend, 0, 8);
    in_fixed(__NR_rt_sigtimedwait, 0, 8);
    in_fixed(__NR_rt_sigtimedwait, 2, 16, 1);
    out_fixed(__NR_rt_sigtimedwait, 1, 128);
    in_fixed(__NR_sigaltstack, 0, 24);
    out_fixed(__NR_sigaltstack, 1, 24);
    in_fixed(__NR_nanosleep, 0, 16);
    in_fixed(__NR_clock_nanosleep, 2, 16);
    out_fixed(__NR_clock_gettime, 1, 16);
    out_fixed(__NR_clock_getres, 1, 16);
    out_fixed(__NR_gettimeofday, 0, 16);
    out_fixed(__NR_uname, 0, 390);
    out_counted(__NR_getrandom, 0, 1, 1);
    in_fixed(__NR_prlimit64, 2, 16);
    out_fixed(__NR_prlimit64, 3, 16);
    out_fixed(__NR_getrlimit, 1, 16);
    out_fixed(__NR_getrusage, 1, 144);
    out_fixed(__NR_timerfd_settime, 3, 32);
    in_fixed(__NR_timerfd_settime, 2, 32);
    out_fixed(__NR_timer_settime, 3, 32);
    in_fixed(__NR_timer_settime, 2, 32);
    for (int nr : {__NR_timerfd_gettime, __NR_timer_gettime, __NR_getitimer}) out_fixed(nr, 1, 32);
    in_fixed(__NR_setitimer, 1, 32);
    out_fixed(__NR_setitimer, 2, 32);
    out_fixed(__NR_times, 0, 32);
    out_fixed(__NR_sysinfo, 0, 112);
    out_counted(__NR_sched_getaffinity, 2, 1, 1);
    in_counted(__NR_sched_setaffinity, 2, 1, 1);
    in_fixed(__NR_setrlimit, 1, 16);
  }

 private:
  constexpr void in_string(int nr, uint8_t arg, int i = 0) { calls[nr].in[i] = {WindowKind::kString, arg, 0, 0}; }
  constexpr void in_fixed(int nr, uint8_t arg, uint16_t size, int i = 0) {
    calls[nr].in[i] = {WindowKind::kFixed, arg, 0, size};
  }
  constexpr void in_counted(int nr, uint8_t arg, uint8_t count, uint16_t size, int i = 0) {
    calls[nr].in[i] = {WindowKind::kCounted, arg, count, size};
  }
  constexpr void vectors(int nr, Vectors how) {
    in_counted(nr, 1, 2, sizeof(iovec));
    calls[nr].vectors = how;
  }
  constexpr void out_fixed(int nr, uint8_t arg, uint16_t size, int i = 0) {
    calls[nr].out[i] = {WindowKind::kFixed, arg, 0, size};
  }
  constexpr void out_counted(int nr, uint8_t arg, uint8_t count, uint16_t size) {
    calls[nr].out[0] = {WindowKind::kCounted, arg, count, size};
  }
};

inline constexpr WindowTable window_table;

}  // namespace run9::sentry::trap
