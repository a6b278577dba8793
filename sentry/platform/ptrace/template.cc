// The template stub: exec'ed once, then prepared by injected calls. It runs none of its own.
#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "sentry/platform/ptrace/filter.h"
#include "sentry/platform/ptrace/layout.h"
#include "sentry/platform/ptrace/ptrace_platform.h"
#include "sentry/platform/ptrace/vdso.h"

extern "C" const char run9_gate_begin[], run9_gate_end[];

namespace run9::sentry::ptrace {
namespace {

Result<UniqueFd> gate_file() {
  auto fd = TRY(take_fd(memfd_create("run9-gate", MFD_CLOEXEC | MFD_ALLOW_SEALING)));
  const auto size = static_cast<size_t>(run9_gate_end - run9_gate_begin);
  if (write(fd.get(), run9_gate_begin, size) != static_cast<ssize_t>(size)) return last_errno();
  fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return fd;
}

template <typename T>
ByteSpan bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

Result<void> store(AddressSpace& space, uint64_t at, ByteSpan bytes) {
  if (TRY(space.write(at, bytes)) != bytes.size()) return Errno{EFAULT};
  return ok();
}

// AT_SYSINFO_EHDR from a fresh stack: argc, argv, 0, envp, 0, auxv.
Result<uint64_t> find_vdso(AddressSpace& space, uint64_t sp) {
  uint64_t words[128] = {};
  TRY(space.read(sp, std::as_writable_bytes(std::span(words))));
  size_t i = 1 + words[0] + 1;
  while (i < 126 && words[i] != 0) ++i;
  for (++i; i + 1 < 128 && words[i] != AT_NULL; i += 2) {
    if (words[i] == AT_SYSINFO_EHDR) return words[i + 1];
  }
  return uint64_t{0};
}

}  // namespace

Result<int> PtracePlatform::exec_gate(BorrowedFd socket) {
  const UniqueFd gate = TRY(gate_file());
  const pid_t pid = ::fork();
  if (pid < 0) return last_errno();
  if (pid != 0) return pid;
  personality(ADDR_NO_RANDOMIZE);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int high = fcntl(socket.get(), F_DUPFD, 100);
  const int exe = fcntl(gate.get(), F_DUPFD_CLOEXEC, 100);
  dup2(high, kSocketFd);
  // The sandbox's standard streams and sockets are not the stubs' business.
  syscall(SYS_close_range, 0, kSocketFd - 1, 0);
  syscall(SYS_close_range, kSocketFd + 1, exe - 1, 0);
  syscall(SYS_close_range, exe + 1, ~0u, 0);
  char name[] = "run9-stub";
  char* argv[] = {name, nullptr};
  char* envp[] = {nullptr};
  if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0) {
    syscall(SYS_execveat, exe, "", argv, envp, AT_EMPTY_PATH);
  }
  _exit(111);
}

Result<void> PtracePlatform::start_template() {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return last_errno();
  socket_ = UniqueFd(pair[0]);
  stub_end_ = UniqueFd(pair[1]);
  const int pid = TRY(exec_gate(stub_end_.borrow()));
  if (const auto adopted = tracer_.adopt(pid); !adopted.has_value()) {
    log_error("the stub did not start: ptrace may be forbidden here, or memfds not executable");
    return adopted;
  }
  template_ = std::make_shared<PtraceSpace>(*this, pid);
  const uint64_t sp = TRY(get_regs(pid)).rsp;
  TRY(template_->call(__NR_munmap, {0x10000, kGate - 0x100000 - 0x10000}));
  TRY(template_->map(nullptr, {.addr = kDataPage, .length = kPage, .prot = PROT_READ | PROT_WRITE}));
  vdso_ = TRY(make_private_vdso(*template_, TRY(find_vdso(*template_, sp))));
  TRY(confine_template());
  return prepare_messages();
}

// recvmsg's header, where no guest can change it, and exact buffers.
Result<void> PtracePlatform::prepare_messages() {
  constexpr uint64_t kIov = kHeaderPage + sizeof(msghdr), kControl = kDataPage + 0x100;
  TRY(template_->map(nullptr, {.addr = kHeaderPage, .length = kPage, .prot = PROT_READ | PROT_WRITE}));
  msghdr m{};
  m.msg_iov = reinterpret_cast<iovec*>(kIov);
  m.msg_iovlen = 1;
  m.msg_control = reinterpret_cast<void*>(kControl);
  m.msg_controllen = CMSG_SPACE(sizeof(int));
  TRY(store(*template_, kHeaderPage, bytes_of(m)));
  TRY(store(*template_, kIov, bytes_of(iovec{reinterpret_cast<void*>(kDataPage), 8})));
  return template_->protect(nullptr, kHeaderPage, kPage, PROT_READ);
}

Result<void> PtracePlatform::confine_template() {
  BpfProgram p = make_filter();
  const auto& code = p.finish();
  const sock_fprog prog{static_cast<unsigned short>(code.size()), reinterpret_cast<sock_filter*>(kDataPage + 64)};
  TRY(store(*template_, kDataPage, bytes_of(prog)));
  TRY(store(*template_, kDataPage + 64, std::as_bytes(std::span(code))));
  TRY(template_->call(__NR_prctl, {PR_SET_NO_NEW_PRIVS, 1}));
  TRY(template_->call(__NR_seccomp, {SECCOMP_SET_MODE_FILTER, 0, kDataPage}));
  return ok();
}

}  // namespace run9::sentry::ptrace
