#include "sentry/trace/constants.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <span>

namespace run9::sentry {
namespace {

struct Name {
  uint64_t value;
  std::string_view text;
};
#define NAME(constant) Name{static_cast<uint64_t>(constant), #constant}

// Values of several bits come before those that are part of them.
constexpr Name kAccess[] = {NAME(O_RDONLY), NAME(O_WRONLY), NAME(O_RDWR)};
constexpr Name kOpen[] = {NAME(O_TMPFILE), NAME(O_SYNC), NAME(O_DSYNC), NAME(O_CREAT), NAME(O_EXCL), NAME(O_NOCTTY),
                          NAME(O_TRUNC), NAME(O_APPEND), NAME(O_NONBLOCK), NAME(O_DIRECTORY), NAME(O_NOFOLLOW),
                          NAME(O_CLOEXEC), NAME(O_PATH), NAME(O_NOATIME), NAME(O_DIRECT), NAME(O_ASYNC)};
constexpr Name kAt[] = {NAME(AT_SYMLINK_NOFOLLOW), NAME(AT_REMOVEDIR), NAME(AT_SYMLINK_FOLLOW), NAME(AT_NO_AUTOMOUNT),
                        NAME(AT_EMPTY_PATH)};
constexpr Name kNoAccess[] = {NAME(PROT_NONE)};
constexpr Name kProtection[] = {NAME(PROT_READ), NAME(PROT_WRITE), NAME(PROT_EXEC), NAME(PROT_GROWSDOWN),
                                NAME(PROT_GROWSUP)};
constexpr Name kMapType[] = {NAME(MAP_SHARED), NAME(MAP_PRIVATE), NAME(MAP_SHARED_VALIDATE)};
constexpr Name kMap[] = {NAME(MAP_FIXED), NAME(MAP_ANONYMOUS), NAME(MAP_GROWSDOWN), NAME(MAP_LOCKED),
                         NAME(MAP_NORESERVE), NAME(MAP_POPULATE), NAME(MAP_NONBLOCK), NAME(MAP_STACK),
                         NAME(MAP_HUGETLB), NAME(MAP_FIXED_NOREPLACE), NAME(MAP_DENYWRITE)};
constexpr Name kClone[] = {NAME(CLONE_VM), NAME(CLONE_FS), NAME(CLONE_FILES), NAME(CLONE_SIGHAND), NAME(CLONE_PIDFD),
                           NAME(CLONE_PTRACE), NAME(CLONE_VFORK), NAME(CLONE_PARENT), NAME(CLONE_THREAD),
                           NAME(CLONE_NEWNS), NAME(CLONE_SYSVSEM), NAME(CLONE_SETTLS), NAME(CLONE_PARENT_SETTID),
                           NAME(CLONE_CHILD_CLEARTID), NAME(CLONE_UNTRACED), NAME(CLONE_CHILD_SETTID),
                           NAME(CLONE_NEWCGROUP), NAME(CLONE_NEWUTS), NAME(CLONE_NEWIPC), NAME(CLONE_NEWUSER),
                           NAME(CLONE_NEWPID), NAME(CLONE_NEWNET), NAME(CLONE_IO)};
constexpr Name kFutex[] = {NAME(FUTEX_WAIT), NAME(FUTEX_WAKE), NAME(FUTEX_REQUEUE), NAME(FUTEX_CMP_REQUEUE),
                           NAME(FUTEX_WAKE_OP), NAME(FUTEX_LOCK_PI), NAME(FUTEX_UNLOCK_PI), NAME(FUTEX_TRYLOCK_PI),
                           NAME(FUTEX_WAIT_BITSET), NAME(FUTEX_WAKE_BITSET), NAME(FUTEX_WAIT_REQUEUE_PI),
                           NAME(FUTEX_CMP_REQUEUE_PI)};
constexpr Name kFutexFlags[] = {NAME(FUTEX_PRIVATE_FLAG), NAME(FUTEX_CLOCK_REALTIME)};
constexpr Name kFcntl[] = {NAME(F_DUPFD), NAME(F_GETFD), NAME(F_SETFD), NAME(F_GETFL), NAME(F_SETFL), NAME(F_GETLK),
                           NAME(F_SETLK), NAME(F_SETLKW), NAME(F_SETOWN), NAME(F_GETOWN), NAME(F_SETSIG),
                           NAME(F_GETSIG), NAME(F_SETOWN_EX), NAME(F_GETOWN_EX), NAME(F_OFD_GETLK),
                           NAME(F_OFD_SETLK), NAME(F_OFD_SETLKW), NAME(F_DUPFD_CLOEXEC), NAME(F_SETPIPE_SZ),
                           NAME(F_GETPIPE_SZ), NAME(F_ADD_SEALS), NAME(F_GET_SEALS)};
constexpr Name kWhence[] = {NAME(SEEK_SET), NAME(SEEK_CUR), NAME(SEEK_END), NAME(SEEK_DATA), NAME(SEEK_HOLE)};
constexpr Name kHow[] = {NAME(SIG_BLOCK), NAME(SIG_UNBLOCK), NAME(SIG_SETMASK)};
constexpr Name kEpoll[] = {NAME(EPOLL_CTL_ADD), NAME(EPOLL_CTL_DEL), NAME(EPOLL_CTL_MOD)};
constexpr Name kClock[] = {NAME(CLOCK_REALTIME), NAME(CLOCK_MONOTONIC), NAME(CLOCK_PROCESS_CPUTIME_ID),
                           NAME(CLOCK_THREAD_CPUTIME_ID), NAME(CLOCK_MONOTONIC_RAW), NAME(CLOCK_REALTIME_COARSE),
                           NAME(CLOCK_MONOTONIC_COARSE), NAME(CLOCK_BOOTTIME), NAME(CLOCK_REALTIME_ALARM),
                           NAME(CLOCK_BOOTTIME_ALARM), NAME(CLOCK_TAI)};
constexpr Name kFamily[] = {NAME(AF_UNIX), NAME(AF_INET), NAME(AF_INET6), NAME(AF_NETLINK), NAME(AF_PACKET)};
constexpr Name kAdvice[] = {NAME(MADV_NORMAL), NAME(MADV_RANDOM), NAME(MADV_SEQUENTIAL), NAME(MADV_WILLNEED),
                            NAME(MADV_DONTNEED), NAME(MADV_FREE), NAME(MADV_REMOVE), NAME(MADV_DONTFORK),
                            NAME(MADV_DOFORK), NAME(MADV_HUGEPAGE), NAME(MADV_NOHUGEPAGE), NAME(MADV_DONTDUMP)};
#undef NAME

// The bits under `mask` are one of `values`; all others are flags.
struct Vocabulary {
  std::string_view word;
  uint64_t mask = 0;
  std::span<const Name> values;
  std::span<const Name> flags;
};

constexpr uint64_t kWhole = 0xffff'ffff;
constexpr Vocabulary kVocabularies[] = {
    {"flags:open", O_ACCMODE, kAccess, kOpen},
    {"flags:at", 0, {}, kAt},
    {"flags:clone", CSIGNAL, {}, kClone},
    {"prot", 0, kNoAccess, kProtection},
    {"mflags", 0xf, kMapType, kMap},
    {"one:futex", 0x7f, kFutex, kFutexFlags},
    {"one:fcntl", kWhole, kFcntl, {}},
    {"one:whence", kWhole, kWhence, {}},
    {"one:how", kWhole, kHow, {}},
    {"one:epoll", kWhole, kEpoll, {}},
    {"one:clock", kWhole, kClock, {}},
    {"one:family", kWhole, kFamily, {}},
    {"one:advice", kWhole, kAdvice, {}},
};

std::string signal_name(uint64_t number) {
  const char* const name = number < NSIG ? sigabbrev_np(static_cast<int>(number)) : nullptr;
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("{}", static_cast<int32_t>(number));
}

void add(std::string& out, std::string_view text) {
  if (!out.empty()) out += '|';
  out += text;
}

std::string spell(const Vocabulary& v, uint64_t value) {
  std::string out;
  uint64_t rest = value & kWhole;
  for (const Name& n : v.values) {
    if ((rest & v.mask) != n.value || (v.mask == 0 && rest != 0)) continue;
    add(out, n.text);
    rest &= ~v.mask;
    break;
  }
  for (const Name& n : v.flags) {
    if ((rest & n.value) != n.value) continue;
    add(out, n.text);
    rest &= ~n.value;
  }
  if (v.word == "flags:clone" && rest != 0 && rest <= CSIGNAL) {
    add(out, signal_name(rest));
    rest = 0;
  }
  if (rest != 0) add(out, v.mask == kWhole ? fmt::format("{}", static_cast<int32_t>(rest)) : fmt::format("{:#x}", rest));
  return out.empty() ? "0" : out;
}

}  // namespace

std::optional<std::string> name_constants(std::string_view word, uint64_t value) {
  if (word == "sig") return signal_name(value & kWhole);
  for (const Vocabulary& v : kVocabularies) {
    if (v.word == word) return spell(v, value);
  }
  return {};
}

}  // namespace run9::sentry
