// What the sanitizers' library needs of programs that shut themselves in: builds made by ./dev asan and ./dev tsan.
// In every other build the list is empty and the functions do nothing.
#pragma once
#include <sys/syscall.h>

#include <array>
#include <cstdint>

namespace run9::sanitizer {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

inline constexpr bool kOn = true;

// The calls that the library makes by itself: to keep its memory, to watch threads, to say what it found. Our
// own filters forbid most of them, and let them pass in such a build.
inline constexpr auto kHostCalls = std::to_array<uint32_t>({
    SYS_access, SYS_brk, SYS_clock_gettime, SYS_clock_nanosleep, SYS_close, SYS_exit, SYS_exit_group, SYS_fstat,
    SYS_futex, SYS_getcwd, SYS_geteuid, SYS_getpid, SYS_getppid, SYS_gettid, SYS_gettimeofday, SYS_getuid, SYS_lstat,
    SYS_madvise, SYS_munmap, SYS_nanosleep, SYS_newfstatat, SYS_open, SYS_openat, SYS_pipe2, SYS_prctl, SYS_prlimit64,
    SYS_read, SYS_readlink, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sched_getaffinity,
    SYS_sched_yield, SYS_sigaltstack, SYS_stat, SYS_tgkill, SYS_uname, SYS_write,
});

// Reports go there; standard error of a confined process may be /dev/null.
void report_to(int fd);

// While /proc can still be read, which reports are made from. From here on nobody looks for leaks when the process
// ends: that takes a further process and ptrace.
void before_jail();

// Says in the log that the filter about to be installed is weaker than it should be.
void announce();

#else

inline constexpr bool kOn = false;
inline constexpr std::array<uint32_t, 0> kHostCalls;
inline void report_to(int) {}
inline void before_jail() {}
inline void announce() {}

#endif

}  // namespace run9::sanitizer
