// What a thread may know without asking, and that a filter of the guest's own holds for a call however it is made.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sentry/platform/told_stat.h"
#include "tests/hostile/attack.h"

extern "C" long site_getppid();
extern "C" const char site_getppid_entry[];
asm(".text\nsite_getppid: mov $110, %eax\n.globl site_getppid_entry\nsite_getppid_entry: syscall\nret\n");

namespace hostile {
namespace {

using namespace run9::sentry;
using namespace run9::sentry::trap;

void refuse_getppid() {
  sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog program{4, code};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

void must_be_refused(long result, const char* way) {
  if (result != -EPERM && result != kNoAnswer) broken("a filtered call gave %ld %s", result, way);
}

// A fault where a patched site's `syscall` was is a call as well.
Request fault_at_site() { return {kReqFault, SYS_getppid, {}}; }

void filtered() {
  in_child([] {
    site_getppid();
    getppid();
    refuse_getppid();
    must_be_refused(site_getppid(), "from a patched site");
    must_be_refused(syscall(SYS_getppid) == -1 ? -errno : 0, "by syscall()");
    long r = SYS_getppid;
    asm volatile("call *%1" : "+a"(r) : "r"(site_getppid_entry) : "rcx", "r11", "memory");
    must_be_refused(r, "by a jump into a patched site");
    ControlPage* c = my_page();
    if (c == nullptr) return;
    if (c->identity.valid != 0) broken("a filtered thread is told who it is");
    must_be_refused(forge(c, {kReqSyscall, SYS_getppid, {}}), "by a request of its own");
    c->gregs[kRip] = reinterpret_cast<uint64_t>(site_getppid_entry);
    const long fault = forge(c, fault_at_site());
    // The answer sends the thread to the dispatcher, with the number in rax; there it would ask again.
    if (fault != SYS_getppid) must_be_refused(fault, "by a forged fault");
    for (uint64_t high : {uint64_t{1} << 32, ~uint64_t{0} << 32}) {
      must_be_refused(forge(c, {kReqSyscall, static_cast<long>(SYS_getppid | high), {}}), "with high bits");
    }
    // It may lie to itself.
    c->identity = {1, 4242, 4242, 4242, 0, 0, 0, 0, 0, 0};
    const long lie = site_getppid();
    if (lie != 4242) must_be_refused(lie, "by a forged identity");
  }, 3000);
}

// Who I am to others does not come from my page.
void forged_identity() {
  in_child([] {
    ControlPage* c = my_page();
    if (c == nullptr) return;
    const long pid = forge(c, {kReqSyscall, SYS_getpid, {}});
    if (pid != getpid()) broken("a request made by hand gave %ld", pid);
    c->identity = {1, 1, 1, 1, 0, 0, 0, 0, 0, 0};
    if (forge(c, {kReqSyscall, SYS_getpid, {}}) != pid) broken("the Sentry believes a forged pid");
    if (forge(c, {kReqSyscall, SYS_geteuid, {}}) == 0) broken("the Sentry believes a forged uid");
    if (forge(c, {kReqSyscall, SYS_setuid, {}}) == 0) broken("a forged uid is of use");
    if (forge(c, {kReqSyscall, SYS_kill, {1, 9}}) != -EPERM) broken("another's process could be killed");
    const pid_t child = fork();
    if (child == 0) {
      if (forge(my_page(), {kReqSyscall, SYS_geteuid, {}}) == 0) broken("a forged uid went to a child");
      _exit(0);
    }
    usleep(20'000);
  }, 3000);
}

// What was told of names cannot be changed from here, and whoever forges what it is found by misleads himself.
void told_names() {
  struct stat st;
  for (int i = 0; i < 4; ++i) stat("/no-such-name", &st);
  for (const uint64_t table : {STUB_NAMES, STUB_STATS}) {
    for (const long call : {SYS_mprotect, SYS_madvise, SYS_munmap}) {
      in_child([table, call] {
        const long third = call == SYS_madvise ? MADV_REMOVE : PROT_READ | PROT_WRITE;
        if (at_gate(GATE_ORDER, call, table, 0x1000, third) == 0 && call != SYS_munmap) broken("call %ld was made on a table of names", call);
        *reinterpret_cast<volatile uint64_t*>(table) = ~uint64_t{0};
        broken("a table of names can be written, after call %ld", call);
      });
    }
  }
  in_child([] {
    ControlPage* c = my_page();
    if (c == nullptr) return;
    c->identity.names_of_root = c->identity.names_here;
    c->identity.names_here = dice();
    if (forge(c, {kReqSyscall, SYS_access, {reinterpret_cast<uint64_t>("/"), 0}}) != 0) broken("the Sentry believes a forged secret");
  });
  if (stat("/", &st) != 0) broken("a name is missing");
  if (stat("/no-such-name", &st) == 0) broken("a name is there that is not");
}

// What was told of attributes is enciphered: nothing of it shows, and who knows all but the secret cannot find it.
void told_attributes() {
  const auto& table = *reinterpret_cast<const StatTable*>(STUB_STATS);
  struct stat st;
  const char* const name = "/hostile_guest";
  for (int i = 0; i < 6; ++i) {
    if (stat(name, &st) != 0) broken("a name is missing");
  }
  ControlPage* c = my_page();
  if (c == nullptr || c->identity.names_of_root == 0) return;
  const uint64_t round = reinterpret_cast<const SharedPage*>(STUB_SHARED)->stats_round;
  const auto is_told = [&](uint64_t secret) {
    const uint64_t tag = stat_key(secret, round, true, name, strlen(name)).tag;
    for (const uint64_t entry : table.tags) {
      if (entry == tag) return true;
    }
    return false;
  };
  if (!is_told(c->identity.names_of_root)) broken("nothing was told of %s", name);
  for (int i = 0; i < 1000; ++i) {
    if (is_told(dice())) broken("it is found by another number");
  }
  const auto size = static_cast<uint64_t>(st.st_size);
  for (const StatRecord& record : table.records) {
    for (const uint64_t word : record.words) {
      if (record.version != 0 && (word == st.st_ino || word == size)) broken("what was told can be read");
    }
  }
  for (int i = 0; i < 2000; ++i) {
    c->identity.names_of_root = dice();
    if (stat(name, &st) != 0 || static_cast<uint64_t>(st.st_size) != size) broken("a forged number gives other attributes");
  }
}

}  // namespace

const Attack identity_attacks[] = {{"filtered", filtered}, {"forged_identity", forged_identity}, {"told_names", told_names}, {"told_attributes", told_attributes}, {}};

}  // namespace hostile
