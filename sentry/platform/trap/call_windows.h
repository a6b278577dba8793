// Which memory a call reads and writes, as far as its number and arguments tell, and where it is small: a call
// from a patched site brings it along in its control page and takes the results back in it. A call that is
// not here, or memory that does not fit, is copied by the Sentry, as is everything after a signal.
// Not here on purpose: words that other threads wait on (futex(2)'s first argument). Their value counts at the
// moment of the call, not some time before.
#pragma once
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <termios.h>

#include <initializer_list>

#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry::trap {

enum class WindowKind : uint8_t { kNone, kString, kFixed, kCounted };

// Of memory that is too much to come along, the beginning.
constexpr uint64_t first_of(uint64_t size, uint64_t most = kOutBuffer) { return size < most ? size : most; }

struct WindowRule {
  WindowKind kind = WindowKind::kNone;
  uint8_t arg = 0;
  uint8_t size_arg = 0;  // kCounted: times `size`, and `more`
  uint16_t size = 0;
  uint8_t more = 0;

  // kFixed, kCounted: how much the call's arguments say.
  constexpr uint64_t bytes(const uint64_t* args) const {
    return kind == WindowKind::kFixed ? size : args[size_arg] * size + more;
  }
  // Of results, the first part alone if they are large.
  constexpr uint64_t out_bytes(const uint64_t* args) const { return first_of(bytes(args)); }
  constexpr uint64_t bulk_bytes(const uint64_t* args) const { return first_of(bytes(args), STUB_BULK_SIZE); }
};

constexpr WindowRule fixed(uint8_t arg, uint16_t size) { return {WindowKind::kFixed, arg, 0, size}; }

// Windows of a buffer follow each other, each at a multiple of 8.
constexpr uint32_t padded(uint32_t size) { return (size + 7) & ~7u; }

// What else comes along. Of a call whose first input is an array of iovec, all that it names: read along, or written as one. By
// call_parts.h: sendmsg(2), recvmsg(2), select(2) and pselect(2).
enum class More : uint8_t { kNone, kGather, kScatter, kSent, kReceived, kSets };

struct CallWindows {
  WindowRule in[kWindows], out[kWindows];
  More more = More::kNone;
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
// Of Reply::results[0] alone: `size` windows lie at the end of out_buffer, more than the reply has room for.
inline constexpr uint32_t kListed = kInLine - 4;
inline constexpr uint32_t kMostListed = 12, kOutList = kOutBuffer - kMostListed * sizeof(Window);
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
                   __NR_memfd_create, __NR_getxattr, __NR_lgetxattr, __NR_execve}) {
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
    for (int nr : {__NR_readv, __NR_preadv, __NR_preadv2}) vectors(nr, More::kScatter);
    for (int nr : {__NR_writev, __NR_pwritev, __NR_pwritev2}) vectors(nr, More::kGather);
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
    for (int nr : {__NR_sendmsg, __NR_recvmsg}) in_fixed(nr, 1, sizeof(msghdr));
    calls[__NR_sendmsg].more = More::kSent;
    calls[__NR_recvmsg].more = More::kReceived;
    for (int nr : {__NR_select, __NR_pselect6}) calls[nr].more = More::kSets;
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
    out_fixed(__NR_ppoll, 2, 16, 1);
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
    for (int nr : {__NR_capget, __NR_capset}) in_fixed(nr, 0, 8);
    out_fixed(__NR_capget, 1, 24);
    in_fixed(__NR_capset, 1, 24, 1);
    out_counted(__NR_getgroups, 1, 0, 4);
    in_counted(__NR_setgroups, 1, 0, 4);
    in_fixed(__NR_timer_create, 1, 64);
    out_fixed(__NR_timer_create, 2, 4);
    in_fixed(__NR_rt_sigqueueinfo, 2, 128);
    in_fixed(__NR_rt_tgsigqueueinfo, 3, 128);
    for (int nr : {__NR_semop, __NR_semtimedop}) in_counted(nr, 1, 2, 6);
    in_fixed(__NR_semtimedop, 3, 16, 1);
    in_counted(__NR_msgsnd, 1, 2, 1);
    calls[__NR_msgsnd].in[0].more = 8;  // a long before the text
    out_counted(__NR_msgrcv, 1, 2, 1);
    calls[__NR_msgrcv].out[0].more = 8;
    in_counted(__NR_mq_timedsend, 1, 2, 1);
    in_fixed(__NR_mq_timedsend, 4, 16, 1);
    out_counted(__NR_mq_timedreceive, 1, 2, 1);
    out_fixed(__NR_mq_timedreceive, 3, 4, 1);
    in_fixed(__NR_mq_timedreceive, 4, 16);
    out_fixed(__NR_sched_getparam, 1, 4);
    out_fixed(__NR_sched_rr_get_interval, 1, 16);
    in_fixed(__NR_sched_setparam, 1, 4);
    in_fixed(__NR_sched_setscheduler, 2, 4);
    for (int nr : {__NR_utimes, __NR_utime}) in_string(nr, 0);
    in_fixed(__NR_utimes, 1, 32, 1);
    in_fixed(__NR_utime, 1, 16, 1);
    in_string(__NR_openat2, 1);
    in_counted(__NR_openat2, 2, 3, 1, 1);
    for (int nr : {__NR_listxattr, __NR_llistxattr}) in_string(nr, 0);
    for (int nr : {__NR_listxattr, __NR_llistxattr, __NR_flistxattr}) out_counted(nr, 1, 2, 1);
  }

 private:
  constexpr void in_string(int nr, uint8_t arg, int i = 0) { calls[nr].in[i] = {WindowKind::kString, arg, 0, 0}; }
  constexpr void in_fixed(int nr, uint8_t arg, uint16_t size, int i = 0) { calls[nr].in[i] = fixed(arg, size); }
  constexpr void in_counted(int nr, uint8_t arg, uint8_t count, uint16_t size, int i = 0) {
    calls[nr].in[i] = {WindowKind::kCounted, arg, count, size};
  }
  constexpr void vectors(int nr, More how) {
    in_counted(nr, 1, 2, sizeof(iovec));
    calls[nr].more = how;
  }
  constexpr void out_fixed(int nr, uint8_t arg, uint16_t size, int i = 0) { calls[nr].out[i] = fixed(arg, size); }
  constexpr void out_counted(int nr, uint8_t arg, uint8_t count, uint16_t size) {
    calls[nr].out[0] = {WindowKind::kCounted, arg, count, size};
  }
};

inline constexpr WindowTable window_table;

// Calls whose windows another argument decides: which request it is.
struct Request {
  uint32_t nr;
  uint32_t number;
  CallWindows windows;
};

constexpr Request request_in(uint32_t nr, uint32_t number, uint8_t arg, uint16_t size) {
  return {nr, number, {.in = {fixed(arg, size)}, .out = {}}};
}
constexpr Request request_out(uint32_t nr, uint32_t number, uint8_t arg, uint16_t size) {
  return {nr, number, {.in = {}, .out = {fixed(arg, size)}}};
}
constexpr Request request_both(uint32_t nr, uint32_t number, uint8_t arg, uint16_t size) {
  return {nr, number, {.in = {fixed(arg, size)}, .out = {fixed(arg, size)}}};
}

// fcntl(2)'s, by numbers: the stub has the kernel's headers, which cannot be had beside libc's.
enum FcntlCommand : uint32_t { kGetlk = 5, kSetlk = 6, kSetlkw = 7, kSetownEx = 15, kGetownEx = 16, kOfdGetlk = 36, kOfdSetlk = 37, kOfdSetlkw = 38 };
inline constexpr uint16_t kTermios = 36;  // the kernel's struct termios

inline constexpr Request requests[] = {
    request_out(__NR_ioctl, FIONREAD, 2, 4),        request_in(__NR_ioctl, FIONBIO, 2, 4),
    request_out(__NR_ioctl, TIOCOUTQ, 2, 4),        request_out(__NR_ioctl, TIOCGWINSZ, 2, 8),
    request_out(__NR_ioctl, TCGETS, 2, kTermios),   request_in(__NR_ioctl, TCSETS, 2, kTermios),
    request_in(__NR_ioctl, TCSETSW, 2, kTermios),   request_in(__NR_ioctl, TCSETSF, 2, kTermios),
    request_out(__NR_ioctl, TIOCGPGRP, 2, 4),       request_in(__NR_ioctl, TIOCSPGRP, 2, 4),
    request_in(__NR_fcntl, kSetlk, 2, 32),         request_in(__NR_fcntl, kSetlkw, 2, 32),
    request_both(__NR_fcntl, kGetlk, 2, 32),       request_in(__NR_fcntl, kOfdSetlk, 2, 32),
    request_in(__NR_fcntl, kOfdSetlkw, 2, 32),    request_both(__NR_fcntl, kOfdGetlk, 2, 32),
    request_out(__NR_fcntl, kGetownEx, 2, 8),     request_in(__NR_fcntl, kSetownEx, 2, 8),
    request_in(__NR_prctl, PR_SET_NAME, 1, 16),     request_out(__NR_prctl, PR_GET_NAME, 1, 16),
    request_out(__NR_arch_prctl, ARCH_GET_FS, 1, 8),
};

// Null: none.
inline const CallWindows* windows_of(uint64_t nr, const uint64_t* args) {
  if (nr >= kWindowCalls) return nullptr;
  if (nr != __NR_ioctl && nr != __NR_fcntl && nr != __NR_prctl && nr != __NR_arch_prctl) return &window_table.calls[nr];
  const uint64_t number = nr == __NR_ioctl || nr == __NR_fcntl ? args[1] : args[0];
  for (const Request& r : requests) {
    if (r.nr == nr && r.number == static_cast<uint32_t>(number)) return &r.windows;
  }
  return nullptr;
}

}  // namespace run9::sentry::trap
