// The ptrace platform: guest code runs in traced stub processes; the host stops them at each system call
// (PTRACE_SYSEMU) and fault. See README.md here.
#pragma once
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "sentry/platform/platform.h"
#include "sentry/platform/ptrace/tracer.h"
#include "sentry/sched/event_loop.h"

namespace run9::sentry::ptrace {

class PtracePlatform;
class PtraceSpace;

class PtraceContext final : public Context {
 public:
  // `tid` is stopped. regs: what it starts with.
  PtraceContext(std::shared_ptr<PtraceSpace> space, int tid, const Regs& regs);
  ~PtraceContext() override;

  Regs& regs() override { return regs_; }
  void set_regs_changed() override {}  // all are written at each resume
  void set_result(uint64_t rax) override { regs_.rax = rax; }
  const Fault& fault() const override { return fault_; }
  bool compat_syscall() const override { return compat_; }
  Result<std::vector<std::byte>> xstate() override;
  Result<void> set_xstate(ByteSpan state) override;
  Result<size_t> xstate_size() override { return TRY(xstate()).size(); }
  void reset_xstate() override { reset_xstate_ = true; }
  void resume() override;
  void kick() override;
  bool running() const override { return running_; }
  int host_tid() const override { return tid_; }
  Result<void> set_top_bit(uint64_t addr) override;

 private:
  friend class PtraceSpace;
  friend class PtracePlatform;
  // The thread's change is an event, or (a stray signal) nothing, and it goes on.
  void on_change(int status);
  EventKind read_stop(int signo);
  void read_fault(int signo);
  void report(EventKind kind);
  void set_running(bool on);
  bool go();

  std::shared_ptr<PtraceSpace> space_;
  const int tid_;
  Regs regs_;
  Fault fault_;
  bool compat_ = false;
  bool running_ = false;
  bool gone_ = false;
  bool reset_xstate_ = false;
};

class PtraceSpace final : public AddressSpace {
 public:
  PtraceSpace(PtracePlatform& platform, int pid);
  ~PtraceSpace() override;

  Result<void> map(Context* via, const MapRequest&) override;
  Result<void> unmap(Context* via, uint64_t addr, uint64_t length) override;
  Result<void> protect(Context* via, uint64_t addr, uint64_t length, int prot) override;
  Result<void> remap(Context* via, uint64_t old_addr, uint64_t old_length, uint64_t new_addr,
                     uint64_t new_length) override;
  Result<void> advise(Context* via, uint64_t addr, uint64_t length, int advice) override;
  Result<void> map_all(Context*, std::span<const MapRequest>) override;
  Result<size_t> read(uint64_t addr, std::span<std::byte> dst) override;
  Result<size_t> write(uint64_t addr, ByteSpan src) override;
  Result<Child> fork(Context& parent, const Regs& regs) override;
  Result<std::unique_ptr<Context>> clone_thread(Context& parent, const Regs& regs,
                                                bool parent_waits) override;
  void kill() override;
  Result<std::unique_ptr<Context>> first_thread(const Regs& regs) override;
  uint64_t cpu_time_ns() const override;
  int host_pid() const override { return pid_; }

  // A copy of this process, with an agent and no guest thread.
  Result<std::shared_ptr<PtraceSpace>> fork_agent();
  // A system call in the agent.
  Result<uint64_t> call(uint64_t nr, const CallArgs& args);
  void process_died() { dead_ = true; }

 private:
  friend class PtraceContext;
  Result<void> map_one(const MapRequest&);
  Result<void> pass_descriptor(BorrowedFd fd);

  PtracePlatform& platform_;
  const int pid_;  // of the process and of its agent
  bool dead_ = false;
};

class PtracePlatform final : public Platform, private FdHandler {
 public:
  // Starts the template stub. Before the Sentry's seccomp filter: this execs.
  static Result<std::unique_ptr<PtracePlatform>> create(EventLoop& loop, EventSink& sink);
  ~PtracePlatform() override;

  std::string_view name() const override { return "ptrace"; }
  Result<AddressSpaceRef> create_address_space() override;
  uint64_t vdso() const override { return vdso_; }
  bool poll() override;
  void before_sleep() override {}  // SIGCHLD wakes the worker
  void after_sleep() override {}
  int running_contexts() const override { return running_; }

 private:
  friend class PtraceSpace;
  friend class PtraceContext;
  PtracePlatform(EventLoop& loop, EventSink& sink) : loop_(loop), sink_(sink) {}
  Result<int> exec_gate(BorrowedFd socket);
  Result<void> start_template();
  Result<void> prepare_messages();
  Result<void> confine_template();
  void on_ready(uint32_t events) override;  // SIGCHLD's descriptor
  bool collect();
  void dispatch(const Tracer::Change& change);

  EventLoop& loop_;
  EventSink& sink_;
  Tracer tracer_;
  UniqueFd children_;
  UniqueFd socket_, stub_end_;  // descriptors go to agents through this pair
  std::shared_ptr<PtraceSpace> template_;
  std::unordered_map<int, PtraceContext*> contexts_;  // by thread
  std::unordered_map<int, PtraceSpace*> spaces_;      // by process, which is also its agent
  std::unordered_set<int> ending_;                    // threads told to exit
  uint64_t vdso_ = 0;
  int running_ = 0;
};

}  // namespace run9::sentry::ptrace
